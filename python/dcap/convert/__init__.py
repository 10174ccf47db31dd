"""Other annotation formats to records, and records to COCO, with every loss counted."""

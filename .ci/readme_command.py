"""Print one of the README's quick-start commands, so that what CI runs cannot drift from what a user reads.

The command is the ``bash`` fence after the line ``<!-- quickstart:N -->``.
"""

import re
import sys
from pathlib import Path


def main() -> int:
    """Print command number ``sys.argv[1]`` of README.md; return 1 when it is not there."""
    number = sys.argv[1]
    readme = Path(__file__).parents[1] / "README.md"
    text = readme.read_text("utf-8") if readme.is_file() else ""
    found = re.search(rf"<!-- quickstart:{re.escape(number)} -->\s*```bash\n(.+?)```", text, re.DOTALL)
    if not found:
        print(f"README.md must have a bash fence after <!-- quickstart:{number} -->", file=sys.stderr)
        return 1
    print(found[1].strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m takeone.cli`."""

from takeone.cli import main

raise SystemExit(main())

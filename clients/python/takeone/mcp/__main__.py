"""`python -m takeone.mcp`."""

from takeone.mcp.main import main

main()

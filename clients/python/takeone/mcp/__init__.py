"""An MCP server: agents order videos with an API key that has a spend limit."""

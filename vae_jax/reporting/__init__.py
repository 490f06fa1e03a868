"""What a reader sees: tables, figures, diagnostics in words and the page that holds them."""

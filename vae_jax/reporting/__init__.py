"""Reports: tables, figures, diagnostics, summaries and the page that holds them."""

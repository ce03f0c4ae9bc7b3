"""Device `web`: a browser, anybody's, that opens one page. Nothing is installed there."""

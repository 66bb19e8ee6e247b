"""`anthem explain`: why titles have their places for a query, as text, as JSON, as a picture and as a page."""

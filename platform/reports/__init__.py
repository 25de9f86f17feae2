"""What people look at: pictures, pages, cards."""

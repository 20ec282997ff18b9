"""What people and machines are shown: tables, documents, pictures and progress."""

"""What a run over formats shows: its front, tables, advice, and a contact sheet of pictures."""

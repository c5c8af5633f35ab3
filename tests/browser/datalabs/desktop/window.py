"""A window that writes down what reaches it: keys, clicks, what is pasted; F2 copies a text, F3 pastes, F4 ends."""

import tkinter as tk
from pathlib import Path

NOTES = Path("/media/home/window.txt")
COPIED = "Copied in the desktop: 5 µas, ¼ Å"


def note(text: str) -> None:
    """Add a line."""
    with NOTES.open("a") as notes:
        notes.write(f"{text}\n")


def pasted(root: tk.Tk) -> str:
    """Return what the desktop's clipboard holds."""
    try:
        return root.clipboard_get(type="UTF8_STRING")
    except tk.TclError:
        return ""


def main() -> None:
    """Show the window until it is closed."""
    NOTES.unlink(missing_ok=True)
    root = tk.Tk()
    root.title("A window")
    root.geometry("640x400+40+40")
    root.configure(background="#0a627a")
    label = tk.Label(root, text="Type here", font=("sans", 24), background="#0a627a", foreground="white")
    label.pack(expand=True)

    def copy() -> None:
        root.clipboard_clear()
        root.clipboard_append(COPIED)
        note("copied")

    def typed(event: tk.Event) -> None:
        if event.char.isprintable() and event.char:
            label.configure(text=label["text"].removeprefix("Type here") + event.char)
            note(f"key {event.char}")

    root.bind("<Key>", typed)
    root.bind("<Button-1>", lambda event: note(f"click {event.x_root} {event.y_root}"))
    root.bind("<F2>", lambda _: copy())
    root.bind("<F3>", lambda _: note(f"pasted {pasted(root)}"))
    root.bind("<F4>", lambda _: root.destroy())
    root.after(100, root.focus_force)
    note("open")
    root.mainloop()


if __name__ == "__main__":
    main()

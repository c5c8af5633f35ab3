"""Virtual machines as all adapters make them: QEMU's arguments, the seed, the image. Pure, but for reading an image."""

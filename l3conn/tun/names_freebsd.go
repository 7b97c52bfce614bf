package tun

// defaultName lets the kernel choose the number.
const defaultName = ""

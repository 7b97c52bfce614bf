package tun

// defaultName lets WireGuard's package look for the first free number.
const defaultName = "tun"

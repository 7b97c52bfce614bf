// Package config owns what the user of tun2socks says: the flags, the file, what
// both mean together, and the errors about them. A flag and a key of the file have
// the same name; a flag overrides the file.
//
// Every error is one line that names the field and the value, and for a file its
// line and column. Passwords are of types that print as ***.
package config

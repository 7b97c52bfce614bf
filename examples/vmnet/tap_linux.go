package main

import (
	"l3extract/l3conn"
	"l3extract/l3conn/ether"
)

func openTap(name string) (l3conn.Conn, error) { return ether.OpenTap(name) }

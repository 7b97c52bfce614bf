package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// What the inner process needs until it becomes the command: to configure its
// network, to mount, and to take capabilities out of its bounding set.
var setupCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP}

// privileged tells whether this process can make mount and network namespaces
// without a user namespace of its own.
func privileged() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return false
	}
	for _, c := range setupCaps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// dropCaps takes every capability from the calling thread and from whatever it
// will exec, root included: inside the user namespace they would let the command
// reconfigure its network, and the invoking user had none of them. One is left to be
// had: ping(8) and its like ask for CAP_NET_RAW by a capability of their file, as they
// do outside, and where that cannot be had they are not even started. The caller has
// locked its goroutine to the thread.
func dropCaps() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_CAP_AMBIENT)", err)
	}
	for c := uintptr(0); ; c++ {
		if c == unix.CAP_NET_RAW {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL && c > 0 {
			break // one past the last capability that this kernel knows
		}
		if err != nil {
			return os.NewSyscallError("prctl(PR_CAPBSET_DROP)", err)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	return os.NewSyscallError("capset", unix.Capset(&hdr, &none[0]))
}

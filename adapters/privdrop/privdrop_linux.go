package privdrop

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

func drop(c *Config) error {
	var id Identity
	if c.User != "" {
		var err error
		if id, err = Lookup(c.User); err != nil {
			return err
		}
	}
	keep := make([]cap.Value, 0, len(c.Keep))
	for _, k := range c.Keep {
		keep = append(keep, cap.Value(k))
	}
	if err := check(keep); err != nil {
		return err
	}
	if err := emptyBounds(); err != nil {
		return fmt.Errorf("privdrop: bounding set: %w", err)
	}
	if c.User != "" {
		if err := become(id); err != nil {
			return fmt.Errorf("privdrop: become %s: %w (needs CAP_SETUID and CAP_SETGID, as root has them)", c.User, err)
		}
	}
	if err := cap.ResetAmbient(); err != nil {
		return fmt.Errorf("privdrop: ambient capabilities: %w", err)
	}
	set := cap.NewSet() // inheritable ones are none
	err := errors.Join(set.SetFlag(cap.Permitted, true, keep...), set.SetFlag(cap.Effective, true, keep...))
	if err == nil {
		err = set.SetProc()
	}
	if err != nil {
		return fmt.Errorf("privdrop: capabilities: %w", err)
	}
	if _, _, errno := psx.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("privdrop: no_new_privs: %w", errno)
	}
	return verify(c, id, set)
}

// check refuses to keep what is not there, before anything is given up.
func check(keep []cap.Value) error {
	have := cap.GetProc()
	for _, k := range keep {
		if ok, err := have.GetFlag(cap.Permitted, k); err != nil {
			return fmt.Errorf("privdrop: Config.Keep %d: %w", k, err)
		} else if !ok {
			return fmt.Errorf("privdrop: Config.Keep %v: this process does not have it: %w", k, unix.EPERM)
		}
	}
	return nil
}

// emptyBounds empties the bounding set if that is permitted.
func emptyBounds() error {
	if ok, err := cap.GetProc().GetFlag(cap.Permitted, cap.SETPCAP); !ok || err != nil {
		return err
	}
	var all []cap.Value
	for c := cap.Value(0); c < cap.MaxBits(); c++ {
		if _, err := cap.GetBound(c); err == nil { // else the kernel knows no more
			all = append(all, c)
		}
	}
	return cap.DropBound(all...)
}

// become changes user and groups of all threads, and keeps the permitted capabilities.
func become(id Identity) error {
	if err := cap.SetGroups(id.GID, id.Groups...); err != nil {
		return err
	}
	return cap.SetUID(id.UID)
}

// verify compares what is so with what should be.
func verify(c *Config, id Identity, want *cap.Set) error {
	if d, err := cap.GetProc().Cf(want); err != nil || d != 0 {
		return fmt.Errorf("privdrop: capabilities are %v, not %v", cap.GetProc(), want)
	}
	if c.User == "" {
		return nil
	}
	r, e, s := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	groups, err := os.Getgroups()
	for _, got := range []int{r, e, s} {
		if got != id.UID {
			return fmt.Errorf("privdrop: the user is still %d", got)
		}
	}
	for _, got := range []int{rg, eg, sg} {
		if got != id.GID {
			return fmt.Errorf("privdrop: the group is still %d", got)
		}
	}
	for _, g := range groups {
		if g != id.GID && !slices.Contains(id.Groups, g) {
			return fmt.Errorf("privdrop: group %d is still there", g)
		}
	}
	return err
}

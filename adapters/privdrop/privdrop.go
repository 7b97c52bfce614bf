package privdrop

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// Capability is the number of a capability(7).
type Capability uint

// Capabilities that a program of networks may need when it has been set up.
const (
	// NetBindService is for ports below 1024.
	NetBindService Capability = 10
	// NetAdmin is for marks (SO_MARK), and for routes that are to be undone.
	NetAdmin Capability = 12
	// NetRaw is for pings where net.ipv4.ping_group_range does not hold the group.
	NetRaw Capability = 13
)

// Config says what is left. nil and the zero value leave no capability.
type Config struct {
	// User is who the process becomes: a name, or a number of one, and after a colon a
	// group if it is not to be the user's. The groups of the user are taken over, those of
	// a number that is nobody's are none. Default: who it is.
	User string

	// Keep are the capabilities that are kept, for this process alone: what it starts has
	// none. Default: none.
	Keep []Capability
}

// Identity is a user with its groups.
type Identity struct {
	UID, GID int   // numbers of the user and its group
	Groups   []int // others than GID
}

// Lookup finds the Identity that Config.User stands for. Its error names the user.
func Lookup(name string) (Identity, error) {
	who, group, hasGroup := strings.Cut(name, ":")
	id, err := lookupUser(who)
	if err == nil && hasGroup {
		id.GID, err = lookupGroup(group)
	}
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("privdrop: user %q: %w", name, err)
	case id.GID < 0:
		return Identity{}, fmt.Errorf("privdrop: user %q: nobody has that number, so a group is needed, as in %s:%s", name, who, who)
	}
	return id, nil
}

func lookupUser(name string) (id Identity, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		n, isNumber := number(name)
		if !isNumber {
			return id, err
		}
		if u, err = user.LookupId(name); err != nil {
			return Identity{UID: n, GID: -1}, nil
		}
	}
	var ok1, ok2 bool
	id.UID, ok1 = number(u.Uid)
	id.GID, ok2 = number(u.Gid)
	if !ok1 || !ok2 {
		return id, fmt.Errorf("has IDs %s, %s, which are no numbers", u.Uid, u.Gid)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return id, err
	}
	for _, g := range groups {
		if n, ok := number(g); ok && n != id.GID {
			id.Groups = append(id.Groups, n)
		}
	}
	return id, nil
}

func lookupGroup(name string) (int, error) {
	if n, ok := number(name); ok {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	n, ok := number(g.Gid)
	if !ok {
		return 0, fmt.Errorf("group %s has the ID %s, which is no number", name, g.Gid)
	}
	return n, nil
}

func number(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n < 1<<31
}

// Drop leaves what cfg says, for all threads, those to come included: user, group and
// groups, the permitted and effective capabilities; the inheritable, ambient and
// bounding sets are emptied, and no_new_privs is set. Becoming another user takes root's
// capabilities (CAP_SETUID, CAP_SETGID), emptying the bounding set CAP_SETPCAP; without
// the latter it stays. After an error the process may have less than it had and more than
// it should: it has to end. Drop checks what it has done.
//
// Afterwards /proc/self belongs to root, and there are no core dumps. Nothing else must
// change the identity of threads at the same time.
func Drop(cfg *Config) error {
	c := Config{}
	if cfg != nil {
		c = *cfg
	}
	return drop(&c)
}

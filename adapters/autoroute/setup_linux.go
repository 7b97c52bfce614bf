package autoroute

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is the routing of the network namespace in which it was made.
type kernel struct {
	h       *netlink.Handle
	hasIPv6 bool
}

func openKernel() (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("autoroute: netlink: %w", err)
	}
	_, err = os.Stat("/proc/sys/net/ipv6")
	return &kernel{h: h, hasIPv6: !errors.Is(err, fs.ErrNotExist)}, nil
}

// Routes is what Setup has set up. Its methods may be called at once.
type Routes struct {
	cfg      Config
	k        *kernel
	state    *stateFile
	saved    state
	link     linkBefore
	resolv   *os.File // the resolv.conf of ours; nil: none
	resolved bool     // systemd-resolved was told

	once sync.Once
	err  error
}

func setup(cfg *Config) (_ *Routes, err error) {
	c := cfg.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	link, err := k.h.LinkByName(c.Device)
	if err != nil {
		k.h.Close()
		return nil, fmt.Errorf("autoroute: Config.Device %s: %w", c.Device, err)
	}
	file, left, err := openState(c.StateDir)
	if err != nil {
		k.h.Close()
		return nil, err
	}
	r := &Routes{cfg: c, k: k, state: file}
	defer func() {
		if err != nil {
			err = fmt.Errorf("autoroute: %w%s", err, hint(err))
			r.release()
		}
	}()
	if name, err := k.rival(link.Attrs().Index); err != nil || name != "" {
		if err == nil {
			err = fmt.Errorf("device %s: %w", name, errBusy)
		}
		return nil, err
	}
	before, err := k.ourRules()
	if err != nil {
		return nil, err
	}
	if err := undoFiles(left, nil); err != nil {
		return nil, err
	}
	if err := recoverResolv(c.ResolvConf, file.f.Name()); err != nil && (len(c.DNS) > 0 || !errors.Is(err, errBusy)) {
		return nil, fmt.Errorf("Config.ResolvConf: %w", err)
	}
	if err := r.apply(link); err != nil {
		// What refused traffic before goes on to do so.
		return nil, join(err, r.undo(c.Strict && len(before) > 0))
	}
	return r, nil
}

// apply changes the system. What it has done, also if it fails, undo undoes.
func (r *Routes) apply(link netlink.Link) (err error) {
	c := &r.cfg
	r.saved = state{PID: os.Getpid(), Device: c.Device}
	if r.saved.Filters, err = strictFilters(); err != nil {
		return err
	}
	if len(c.DNS) > 0 {
		if r.resolved = usesResolved(c.ResolvConf); !r.resolved {
			if r.saved.Resolv, err = backUpResolv(c.ResolvConf, c.DNS, r.state.f.Name()); err != nil {
				return fmt.Errorf("Config.ResolvConf: %w", err)
			}
		}
	}
	if err := r.state.write(r.saved); err != nil {
		return err
	}
	if err := loosenFilters(r.saved.Filters); err != nil {
		return err
	}
	if err := r.k.setLink(link, c, &r.link); err != nil {
		return fmt.Errorf("device %s: %w", c.Device, err)
	}
	dropOthers, err := r.k.setRoutes(link, c.routes())
	if err != nil {
		return err
	}
	if err := r.k.setRules(c.rules()); err != nil {
		return err
	}
	if err := dropOthers(); err != nil {
		return err
	}
	switch {
	case r.resolved:
		return setResolved(c.Device, c.DNS)
	case r.saved.Resolv != nil:
		if r.resolv, err = r.saved.Resolv.replace(); err != nil {
			return fmt.Errorf("Config.ResolvConf: %w", err)
		}
	}
	return nil
}

// Close undoes Setup, except for what Config.Strict leaves, and says what could not be
// undone; Cleanup, or the next Setup, tries that again. It may be called more than once.
func (r *Routes) Close() error {
	r.once.Do(func() {
		if err := r.undo(r.cfg.Strict); err != nil {
			r.err = fmt.Errorf("autoroute: %w%s", err, hint(err))
		}
		r.release()
	})
	return r.err
}

// Mark returns the mark that our own sockets need.
func (r *Routes) Mark() uint32 { return r.cfg.Mark }

// undo undoes apply. If refuse is set, what refuses traffic stays, and with it all that
// is asked before.
func (r *Routes) undo(refuse bool) error {
	var errs []error
	if r.resolved {
		revertResolved(r.cfg.Device)
	}
	files := undoFiles(r.saved, r.resolv)
	errs = append(errs, files)
	if !refuse {
		errs = append(errs, r.k.clearRules())
	}
	errs = append(errs, r.k.clearRoutes(refuse))
	if r.link.index != 0 {
		errs = append(errs, r.k.undoLink(r.link))
	}
	if files == nil {
		errs = append(errs, r.state.clear())
	}
	return join(errs...)
}

// release gives back what is open.
func (r *Routes) release() {
	if r.resolv != nil {
		_ = r.resolv.Close()
	}
	r.state.close()
	r.k.h.Close()
}

// undoFiles undoes what a state tells of.
func undoFiles(st state, resolv *os.File) error {
	err := tightenFilters(st.Filters)
	if st.Resolv != nil {
		err = join(err, st.Resolv.restore(resolv))
	}
	return err
}

// clearRules removes all rules of this package.
func (k *kernel) clearRules() error {
	have, err := k.ourRules()
	if err != nil {
		return err
	}
	return k.dropRules(have, func(netlink.Rule) bool { return true })
}

// clearRoutes removes the routes of this package, but those that refuse if keep is set.
func (k *kernel) clearRoutes(keep bool) error {
	have, err := k.ourRoutes()
	if err != nil {
		return err
	}
	return k.dropRoutes(have, func(n netlink.Route) bool { return !keep || n.Type != unix.RTN_UNREACHABLE })
}

func cleanup(cfg *Config) error {
	c := cfg.withDefaults()
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.h.Close()
	file, left, err := openState(c.StateDir)
	if err != nil {
		return err
	}
	defer file.close()
	if name, err := k.rival(0); err != nil || name != "" {
		if err == nil {
			err = fmt.Errorf("device %s: %w", name, errBusy)
		}
		return fmt.Errorf("autoroute: %w", err)
	}
	kept := recoverResolv(c.ResolvConf, file.f.Name())
	if errors.Is(kept, errBusy) { // it is not ours to put back
		kept = nil
	}
	err = join(undoFiles(left, nil), kept, k.clearRules(), k.clearRoutes(false))
	if err != nil {
		return fmt.Errorf("autoroute: %w%s", err, hint(err))
	}
	return file.clear()
}

// join is errors.Join, on one line.
func join(errs ...error) error {
	var all error
	for _, err := range errs {
		switch {
		case err == nil:
		case all == nil:
			all = err
		default:
			all = fmt.Errorf("%w; %w", all, err)
		}
	}
	return all
}

// hint says what permission is missing. A file that may not be written, such as a
// resolv.conf that somebody has made immutable, is another matter.
func hint(err error) string {
	var of *fs.PathError
	file := errors.As(err, &of) && !strings.HasPrefix(of.Path, "/proc/") || errors.As(err, new(*os.LinkError))
	if errors.Is(err, unix.EPERM) && !file {
		return " (needs CAP_NET_ADMIN in this network namespace)"
	}
	return ""
}

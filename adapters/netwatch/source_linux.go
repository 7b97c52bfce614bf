package netwatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// groups are the kernel's news that matter.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR

// kernel is the namespace in which it was opened.
type kernel struct {
	skip []string
	news *os.File // a netlink socket
	buf  []byte   // of wait

	mu     sync.Mutex // guards what follows; held over look, which takes a few milliseconds
	h      *netlink.Handle
	closed bool
}

func open(skip []string) (source, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	news := os.NewFile(uintptr(fd), "netlink") // in Go's poller: Close ends Read
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), news.Close())
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(err, news.Close())
	}
	return &kernel{skip: skip, news: news, buf: make([]byte, 64<<10), h: h}, nil
}

// wait reads the news only to know that there are some.
func (k *kernel) wait() error {
	_, err := k.news.Read(k.buf)
	switch {
	case err == nil, errors.Is(err, unix.ENOBUFS): // more than there was room for: news
		return nil
	case errors.Is(err, os.ErrClosed):
		return errClosed
	}
	return err
}

func (k *kernel) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	k.h.Close()
	return k.news.Close()
}

func (k *kernel) look() (*view, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errClosed
	}
	v := &view{addrs: make(map[netip.Addr]bool)}
	up, err := k.links()
	if err != nil {
		return nil, fmt.Errorf("interfaces: %w", err)
	}
	addrs, err := again(func() ([]netlink.Addr, error) { return k.h.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && up[a.LinkIndex] != "" {
			v.addrs[ip.Unmap()] = true
		}
	}
	for i, of := range []struct {
		family int
		to     *Interface
	}{{unix.AF_INET, &v.V4}, {unix.AF_INET6, &v.V6}} {
		v.ways[i] = make(map[int]bool)
		if *of.to, err = k.defaultRoute(of.family, up, v.ways[i]); err != nil {
			return nil, fmt.Errorf("routes: %w", err)
		}
	}
	return v, nil
}

// links returns the names of the interfaces that can be used.
func (k *kernel) links() (map[int]string, error) {
	links, err := again(k.h.LinkList)
	if err != nil {
		return nil, err
	}
	up := make(map[int]string)
	for _, l := range links {
		a := l.Attrs()
		// That the cable is out is an attribute of its own.
		if a.Flags&net.FlagUp != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0 && !slices.Contains(k.skip, a.Name) {
			up[a.Index] = a.Name
		}
	}
	return up, nil
}

// defaultRoute returns the best interface, and puts all that have a default route into
// ways.
func (k *kernel) defaultRoute(family int, up map[int]string, ways map[int]bool) (best Interface, err error) {
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	routes, err := again(func() ([]netlink.Route, error) {
		return k.h.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE)
	})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return best, nil // a kernel without IPv6
	}
	metric := -1
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		if r.Type != unix.RTN_UNICAST {
			continue
		}
		hops := []int{r.LinkIndex}
		if len(r.MultiPath) > 0 {
			hops = nil
			for _, h := range r.MultiPath {
				hops = append(hops, h.LinkIndex)
			}
		}
		for _, index := range hops {
			if up[index] == "" {
				continue
			}
			ways[index] = true
			if metric < 0 || r.Priority < metric {
				metric, best = r.Priority, Interface{Name: up[index], Index: index}
			}
		}
	}
	return best, err
}

// again repeats a dump that something has changed in the middle of: what it lacks would
// be taken for lost, and flows ended for it.
func again[T any](dump func() (T, error)) (v T, err error) {
	for range 20 {
		if v, err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return v, err
}

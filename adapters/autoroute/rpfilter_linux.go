package autoroute

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A strict reverse-path filter (1) drops what comes by an interface that an answer would
// not leave by. Answers to our own sockets come by the interface that their mark leads
// to, and without it an answer would go into the tunnel. Loose (2) wants only that there
// is some way back. The kernel takes the larger of an interface's own value and that of
// "all".
const (
	filters      = "/proc/sys/net/ipv4/conf"
	filterStrict = "1"
	filterLoose  = "2"
)

// strictFilters returns the interfaces whose filter is strict, with their own values.
func strictFilters() (map[string]string, error) {
	dirs, err := os.ReadDir(filters)
	if err != nil {
		return nil, fmt.Errorf("reverse-path filters: %w", err)
	}
	read := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(filters, name, "rp_filter")) // an interface that has gone has none
		return strings.TrimSpace(string(b))
	}
	strict := make(map[string]string)
	all := read("all")
	for _, d := range dirs {
		if d.Name() == "all" {
			continue
		}
		if own := read(d.Name()); own != "" && max(own, all) == filterStrict { // one digit each
			strict[d.Name()] = own
		}
	}
	return strict, nil
}

// loosenFilters makes them loose.
func loosenFilters(strict map[string]string) error {
	for name := range strict {
		if err := setFilter(name, filterLoose); err != nil {
			return fmt.Errorf("%s has a strict reverse-path filter, which drops answers to marked sockets (net.ipv4.conf.all.rp_filter=2 loosens it): %w", name, err)
		}
	}
	return nil
}

// tightenFilters gives them back their values, unless somebody has set others.
func tightenFilters(strict map[string]string) error {
	var errs []error
	for name, own := range strict {
		b, err := os.ReadFile(filepath.Join(filters, name, "rp_filter"))
		if err == nil && strings.TrimSpace(string(b)) == filterLoose {
			errs = append(errs, setFilter(name, own))
		}
	}
	return join(errs...)
}

func setFilter(name, value string) error {
	err := os.WriteFile(filepath.Join(filters, name, "rp_filter"), []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the interface has gone
	}
	return err
}

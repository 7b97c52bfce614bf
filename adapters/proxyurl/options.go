package proxyurl

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are those of a URL's query. The first error stays; it quotes no value.
type options struct {
	values url.Values
	known  map[string]bool
	getenv func(name string) (value string, ok bool)
	err    error
}

func newOptions(query string, getenv func(string) (string, bool)) *options {
	o := &options{known: make(map[string]bool), getenv: getenv}
	var err error
	if o.values, err = url.ParseQuery(query); err != nil {
		o.err = errors.New("the query is not of the form option=value&option=value")
	}
	return o
}

func (o *options) fail(format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf(format, args...)
	}
}

// text returns an option's value, or "".
func (o *options) text(name string) string {
	o.known[name] = true
	switch v := o.values[name]; len(v) {
	case 0:
		return ""
	case 1:
		if v[0] == "" {
			o.fail("option %s has no value", name)
		}
		return v[0]
	default:
		o.fail("option %s is there more than once", name)
		return ""
	}
}

func (o *options) bool(name string, def bool) bool {
	text := o.text(name)
	if text == "" {
		return def
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		o.fail("option %s is true or false", name)
	}
	return v
}

// number returns an option from 0 to most.
func (o *options) number(name string, most int) int {
	text := o.text(name)
	if text == "" {
		return 0
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < 0 || v > most {
		o.fail("option %s is a number from 0 to %d", name, most)
	}
	return v
}

// duration returns an option as the Dialers want it: 0 is the default, and what was
// given as 0 is negative, which is none.
func (o *options) duration(name string) time.Duration {
	text := o.text(name)
	if text == "" {
		return 0
	}
	v, err := time.ParseDuration(text)
	switch {
	case err != nil || v < 0:
		o.fail("option %s is a duration such as 10s", name)
	case v == 0:
		return -1
	}
	return v
}

// maxFile bounds what is read of a file, in bytes.
const maxFile = 1 << 20

// file returns what is in the file that an option names, or nil.
func (o *options) file(name string) []byte {
	path := o.text(name)
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		o.fail("option %s: %w", name, err)
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		o.fail("option %s: %w", name, err)
	case len(b) > maxFile:
		o.fail("option %s: the file has more than %d bytes", name, maxFile)
	case len(b) == 0:
		o.fail("option %s: the file is empty", name)
	}
	return b
}

// credential returns the first line of what name-file or name-env says, or else what
// the URL says.
func (o *options) credential(name, inURL string) string {
	found := 0
	value := inURL
	if inURL != "" {
		found++
	}
	if b := o.file(name + "-file"); b != nil {
		value, _, _ = strings.Cut(string(b), "\n")
		value = strings.TrimSuffix(value, "\r")
		found++
	}
	if env := o.text(name + "-env"); env != "" {
		v, ok := o.getenv(env)
		if !ok {
			o.fail("option %s-env: the variable is not set", name)
		}
		value = v
		found++
	}
	if found > 1 {
		o.fail("the %s is there more than once", name)
	}
	return value
}

// check returns the first error; that an option was not asked for is one.
func (o *options) check() error {
	for name := range o.values {
		if !o.known[name] {
			if len(o.known) == 0 {
				o.fail("there is no option %q, nor any other", name)
			}
			o.fail("there is no option %q here; there are %s", name, strings.Join(slices.Sorted(maps.Keys(o.known)), ", "))
		}
	}
	return o.err
}

package fakeip

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrFile is found by errors.Is in the error of Load about a file that was read and is
// of no use.
var ErrFile = errors.New("not a map of fake addresses that fits")

// The file is text: a head that says for which pool it is, a line for each name with
// its place and the source that owns it, the one used least recently first, and a
// last line with the number and the checksum of all before it.
//
//	l3extract fakeip 1 198.18.0.0/15 fd6c:3366:616b:6500::/64
//	4711 10.0.0.2/32 example.com
//	end 1 1b851995
const (
	fileHead = "l3extract fakeip 1"
	fileEnd  = "end"
	noSource = "-"
	maxLine  = 400
)

// Save writes the names to the file at path, which only its owner may read. The file
// that is there is replaced once the new one is complete; when Save fails it stays as
// it is. The directory must exist.
func (p *Pool) Save(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.Write(p.encode()); err != nil {
		return err
	}
	// Or a crash of the host could leave an empty file under the name.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Load takes in the names of a file that Save wrote, with their addresses, before the
// pool has any. A file that does not exist is no error. After any other error, which
// says in one line what is wrong and where, the pool is as it was.
func (p *Pool) Load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.decode(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// head is the first line of the pool's file.
func (p *Pool) head() string { return fmt.Sprintf("%s %v %v", fileHead, p.v4, p.v6) }

func (p *Pool) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, p.head())
	p.mu.Lock()
	line := func(e *entry) {
		source := noSource
		if e.owner.key.IsValid() {
			source = e.owner.key.String()
		}
		fmt.Fprintln(&b, e.place, source, e.name)
	}
	for at := p.recent.Back(); at != nil; at = at.Prev() {
		line(at.Value.(*entry))
	}
	for _, e := range p.byPlace {
		if e.pins > 0 {
			line(e)
		}
	}
	n := len(p.byName)
	p.mu.Unlock()
	fmt.Fprintf(&b, "%s %d %08x\n", fileEnd, n, crc32.ChecksumIEEE(b.Bytes()))
	return b.Bytes()
}

// record is a line of the file.
type record struct {
	place uint32
	owner netip.Prefix
	name  string
}

func (p *Pool) decode(r io.Reader) error {
	records, err := p.parse(r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	now := time.Since(p.start)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byName) > 0 {
		return errors.New("fakeip: Load after Assign")
	}
	// What does not fit any more is what was used least recently.
	for _, rec := range records[max(0, len(records)-p.size):] {
		if p.reserved[rec.place] {
			continue
		}
		o := p.owners[rec.owner]
		if o == nil {
			o = &owner{key: rec.owner}
		}
		p.use(p.add(o, rec.name, rec.place), now)
	}
	// The next place stays a random one: those behind the last were given out after the
	// file was written, if a crash came between, and clients remember.
	return nil
}

// parse reads the whole file before anything is believed.
func (p *Pool) parse(r io.Reader) ([]record, error) {
	var records []record
	names, places := make(map[string]bool), make(map[uint32]bool)
	sum := crc32.NewIEEE()
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if n == 1 {
			if line != p.head() {
				return nil, fmt.Errorf("line 1 is not %q", p.head())
			}
		} else if rest, last := strings.CutPrefix(line, fileEnd+" "); last {
			if want := fmt.Sprintf("%d %08x", len(records), sum.Sum32()); rest != want {
				return nil, fmt.Errorf("line %d: number and checksum are %q, not %q", n, rest, want)
			}
			if lines.Scan() {
				return nil, fmt.Errorf("line %d: more after the end", n+1)
			}
			return records, lines.Err()
		} else {
			rec, err := p.parseLine(line)
			if err == nil && (names[rec.name] || places[rec.place]) {
				err = errors.New("a second time")
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if len(records) >= int(p.span) {
				return nil, fmt.Errorf("line %d: more names than addresses", n)
			}
			names[rec.name], places[rec.place] = true, true
			records = append(records, rec)
		}
		fmt.Fprintln(sum, line)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

func (p *Pool) parseLine(line string) (record, error) {
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return record{}, errors.New("not a place, a source and a name")
	}
	place, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || place == 0 || place > uint64(p.span) {
		return record{}, errors.New("no place of this pool")
	}
	var source netip.Prefix
	if fields[1] != noSource {
		if source, err = netip.ParsePrefix(fields[1]); err != nil {
			return record{}, errors.New("no source")
		}
	}
	name, ok := canonical(fields[2])
	if !ok || name != fields[2] {
		return record{}, ErrName
	}
	return record{place: uint32(place), owner: source, name: name}, nil
}

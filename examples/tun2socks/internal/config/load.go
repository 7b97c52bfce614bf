package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds a configuration file, in bytes: a list of all networks of a country is
// some hundred kilobytes.
const maxFile = 16 << 20

// document is a file that was read, to find the places of its values.
type document struct {
	name string
	file *ast.File
}

// load reads the file into c.
func load(name string, c *Config) (*document, error) {
	b, err := read(name, maxFile)
	if err != nil {
		return nil, fmt.Errorf("-config: %w", err)
	}
	return decode(name, b, c)
}

// decode is load of bytes.
func decode(name string, b []byte, c *Config) (*document, error) {
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return nil, decodeError(name, nil, err)
	}
	doc := &document{name, file}
	switch {
	case len(file.Docs) == 0, len(file.Docs) == 1 && file.Docs[0].Body == nil:
		return doc, nil // empty, or comments only
	case len(file.Docs) > 1:
		return nil, &Error{File: name, Why: "more than one document; everything behind --- would be ignored"}
	}
	if err := yaml.NodeToValue(file.Docs[0].Body, c, yaml.DisallowUnknownField()); err != nil && !errors.Is(err, io.EOF) {
		return nil, decodeError(name, file, err)
	}
	return doc, nil
}

// read returns what is in a file of at most limit bytes.
func read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: larger than %v", name, Size(limit))
	}
	return b, err
}

// YAML returns the configuration as a file, with *** for secrets.
func (c *Config) YAML() []byte {
	b, err := yaml.MarshalWithOptions(c, yaml.IndentSequence(false))
	if err != nil {
		return fmt.Appendf(nil, "# %v\n", err)
	}
	return b
}

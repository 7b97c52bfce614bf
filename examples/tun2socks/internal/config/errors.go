package config

import (
	"encoding"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Error says what is wrong with one value.
type Error struct {
	File         string // "" if a flag says so, or nothing
	Line, Column int    // in File, from 1; 0: unknown
	Field        string // such as "-mtu" or "rules[2].outbound"
	Value        string // "" if it is missing, or a secret
	Why          string
}

// Error implements error. It is one line without secrets.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Field)
	if e.Value != "" {
		if e.Field != "" {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.Quote(Redact(e.Value)))
	}
	if e.Field != "" || e.Value != "" {
		b.WriteString(": ")
	}
	b.WriteString(Redact(strings.ReplaceAll(e.Why, "\n", " ")))
	return b.String()
}

// text reads a scalar of the file into v.
func text(n ast.Node, v encoding.TextUnmarshaler) error {
	scalar, ok := n.(ast.ScalarNode)
	if !ok {
		return at(n, "", "want one value")
	}
	value := n.GetToken().Value
	if s, ok := scalar.(*ast.LiteralNode); ok {
		value = s.Value.Value
	}
	if scalar.Type() == ast.NullType {
		return nil
	}
	if err := v.UnmarshalText([]byte(value)); err != nil {
		return at(n, value, err.Error())
	}
	return nil
}

// at makes the error about a node.
func at(n ast.Node, value, why string) *Error {
	e := &Error{Field: field(n.GetPath()), Value: value, Why: why}
	e.place(n.GetToken())
	return e
}

func (e *Error) place(t *token.Token) {
	if t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
}

// field makes of a path of the YAML library the name of a field.
func field(path string) string { return strings.TrimPrefix(strings.TrimPrefix(path, "$"), ".") }

// decodeError makes the YAML library's error one of ours. Its own words would show
// lines of the file, and with them passwords, and types of Go.
func decodeError(name string, file *ast.File, err error) error {
	var own *Error
	if errors.As(err, &own) {
		own.File = name
		return own
	}
	e := &Error{File: name, Why: err.Error()}
	var ye yaml.Error
	if !errors.As(err, &ye) {
		return e
	}
	t := ye.GetToken()
	e.place(t)
	e.Why = ye.GetMessage()
	var unknown *yaml.UnknownFieldError
	var wrongType *yaml.TypeError
	var overflow *yaml.OverflowError
	var wrongNode *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unknown):
		e.Why = "unknown key " + strconv.Quote(t.Value)
	case errors.As(err, &wrongType):
		e.Field, e.Value, e.Why = pathOf(file, t), t.Value, "want "+kinds[wrongType.DstType.Kind().String()]
	case errors.As(err, &overflow):
		e.Field, e.Value, e.Why = pathOf(file, t), t.Value, "the number is too large"
	case errors.As(err, &wrongNode):
		e.Field = pathOf(file, t)
		e.Why = fmt.Sprintf("want a %s, not a %s", strings.ToLower(wrongNode.Expected.YAMLName()), strings.ToLower(wrongNode.Actual.YAMLName()))
	}
	return e
}

// kinds are the names of Go's kinds for people.
var kinds = map[string]string{
	"int": "a whole number", "int64": "a whole number", "uint16": "a whole number", "bool": "true or false",
	"string": "a text", "slice": "a list", "struct": "keys and values", "ptr": "keys and values", "map": "keys and values",
}

// pathOf returns the field whose value t is.
func pathOf(file *ast.File, t *token.Token) string {
	f := &finder{token: t}
	for _, doc := range file.Docs {
		ast.Walk(f, doc)
	}
	return field(f.path)
}

type finder struct {
	token *token.Token
	path  string
}

// Visit implements ast.Visitor.
func (f *finder) Visit(n ast.Node) ast.Visitor {
	if f.path == "" && n.GetToken() == f.token {
		if _, ok := n.(*ast.MappingValueNode); !ok { // its token is the colon's
			f.path = n.GetPath()
		}
	}
	return f
}

// locate gives an error of check about a field of the file its place there.
func (e *Error) locate(name string, file *ast.File) {
	e.File = name
	path := e.Field
	for path != "" {
		p, err := yaml.PathString("$." + path)
		if err != nil {
			return
		}
		if n, err := p.FilterFile(file); err == nil && n != nil {
			if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
				e.place(m.Values[0].Key.GetToken()) // its own is a colon
			} else {
				e.place(n.GetToken())
			}
			return
		}
		cut := strings.LastIndexAny(path, ".[") // a key that is missing: where it should be
		path = path[:max(cut, 0)]
	}
}

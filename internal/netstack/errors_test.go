package netstack

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	gtcpip "gvisor.dev/gvisor/pkg/tcpip"
)

// engineErrors returns the names of all error types of the engine, found in its
// source: the types of package tcpip with a method of gtcpip.Error.
func engineErrors(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "gvisor.dev/gvisor/pkg/tcpip").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
	}
	var names []string
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "isError" {
				continue
			}
			if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
				names = append(names, star.X.(*ast.Ident).Name)
			}
		}
	}
	return names
}

// known has one value of each error of the engine, with what it is translated to.
var known = map[gtcpip.Error]error{
	&gtcpip.ErrAborted{}:                      syscall.ECONNABORTED,
	&gtcpip.ErrAddressFamilyNotSupported{}:    syscall.EAFNOSUPPORT,
	&gtcpip.ErrAlreadyBound{}:                 syscall.EINVAL,
	&gtcpip.ErrAlreadyConnected{}:             syscall.EISCONN,
	&gtcpip.ErrAlreadyConnecting{}:            syscall.EALREADY,
	&gtcpip.ErrBadAddress{}:                   syscall.EFAULT,
	&gtcpip.ErrBadBuffer{}:                    syscall.EFAULT,
	&gtcpip.ErrBadLocalAddress{}:              syscall.EADDRNOTAVAIL,
	&gtcpip.ErrBroadcastDisabled{}:            syscall.EACCES,
	&gtcpip.ErrClosedForReceive{}:             errClosedForReceive,
	&gtcpip.ErrClosedForSend{}:                errClosedForSend,
	&gtcpip.ErrConnectStarted{}:               ErrWouldBlock,
	&gtcpip.ErrConnectionAborted{}:            syscall.ECONNABORTED,
	&gtcpip.ErrConnectionRefused{}:            syscall.ECONNREFUSED,
	&gtcpip.ErrConnectionReset{}:              syscall.ECONNRESET,
	&gtcpip.ErrDestinationRequired{}:          syscall.EDESTADDRREQ,
	&gtcpip.ErrDuplicateAddress{}:             syscall.EADDRINUSE,
	&gtcpip.ErrDuplicateNICID{}:               syscall.EADDRINUSE,
	&gtcpip.ErrEndpointBusy{}:                 syscall.EBUSY,
	&gtcpip.ErrHostDown{}:                     syscall.EHOSTDOWN,
	&gtcpip.ErrHostUnreachable{}:              syscall.EHOSTUNREACH,
	&gtcpip.ErrInvalidEndpointState{}:         syscall.EINVAL,
	&gtcpip.ErrInvalidNICID{}:                 syscall.ENODEV,
	&gtcpip.ErrInvalidOptionValue{}:           syscall.EINVAL,
	&gtcpip.ErrInvalidPortRange{}:             syscall.EINVAL,
	&gtcpip.ErrMalformedHeader{}:              syscall.EINVAL,
	&gtcpip.ErrMessageTooLong{}:               syscall.EMSGSIZE,
	&gtcpip.ErrMissingRequiredFields{}:        syscall.EINVAL,
	&gtcpip.ErrMulticastInputCannotBeOutput{}: syscall.EOPNOTSUPP,
	&gtcpip.ErrNetworkUnreachable{}:           syscall.ENETUNREACH,
	&gtcpip.ErrNoBufferSpace{}:                syscall.ENOBUFS,
	&gtcpip.ErrNoNet{}:                        syscall.ENETUNREACH,
	&gtcpip.ErrNoPortAvailable{}:              syscall.EADDRNOTAVAIL,
	&gtcpip.ErrNoSuchFile{}:                   syscall.ENOENT,
	&gtcpip.ErrNotConnected{}:                 syscall.ENOTCONN,
	&gtcpip.ErrNotPermitted{}:                 syscall.EACCES,
	&gtcpip.ErrNotSupported{}:                 syscall.EOPNOTSUPP,
	&gtcpip.ErrPortInUse{}:                    syscall.EADDRINUSE,
	&gtcpip.ErrQueueSizeNotSupported{}:        syscall.ENOTTY,
	&gtcpip.ErrTimeout{}:                      syscall.ETIMEDOUT,
	&gtcpip.ErrUnknownDevice{}:                syscall.ENODEV,
	&gtcpip.ErrUnknownNICID{}:                 syscall.ENODEV,
	&gtcpip.ErrUnknownProtocol{}:              syscall.EPROTONOSUPPORT,
	&gtcpip.ErrUnknownProtocolOption{}:        syscall.ENOPROTOOPT,
	&gtcpip.ErrWouldBlock{}:                   ErrWouldBlock,
}

// TestTranslateIsTotal holds the table against the engine's source: an error
// without a translation would read as none.
func TestTranslateIsTotal(t *testing.T) {
	listed := make(map[string]bool)
	for e, want := range known {
		name := typeName(e)
		listed[name] = true
		if got := translate(e); !errors.Is(got, want) {
			t.Errorf("%s becomes %v, want %v", name, got, want)
		}
	}
	names := engineErrors(t)
	if len(names) < 40 {
		t.Fatalf("only %d error types found in the source", len(names))
	}
	for _, name := range names {
		if !listed[name] {
			t.Errorf("tcpip.%s is not in the table", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("tcpip.%s is no error of the engine any more", name)
	}
	if translate(nil) != nil {
		t.Error("no error becomes one")
	}
}

// TestTranslateUnknown: an error that a later engine brings must not read as
// success.
func TestTranslateUnknown(t *testing.T) {
	var unknown struct{ gtcpip.Error }
	if err := translate(&unknown); !hard(err) {
		t.Errorf("an unknown error becomes %v", err)
	}
}

// typeName returns the name of e's type without its package.
func typeName(e gtcpip.Error) string {
	return reflect.TypeOf(e).Elem().Name()
}

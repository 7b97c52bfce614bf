package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

// TestTUN fetches with this host's own kernel.
func TestTUN(t *testing.T) {
	exampletest.OnTUN(t, run)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	browser := &http.Client{Transport: transport}
	for _, host := range []string{"198.18.0.80", "[fd6c:3378::80]"} {
		response, err := browser.Get("http://" + host + "/a/page")
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := `page "a/page" of ` + host + " on " + host + ":80 for "; err != nil || !strings.HasPrefix(string(said), want) {
			t.Errorf("%s: %q, %v", host, said, err)
		}
		response, err = browser.Post("http://"+host+"/length", "", bytes.NewReader(make([]byte, 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		said, err = io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(said) != "1048576 bytes\n" {
			t.Errorf("%s: %q, %v", host, said, err)
		}
		if response, err := browser.Get("http://" + host + ":81/"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("port 81: %v, %v", response, err)
		}
	}
}

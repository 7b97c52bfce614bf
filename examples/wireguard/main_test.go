package main

import (
	"testing"

	"l3extract/examples/internal/exampletest"
	"l3extract/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

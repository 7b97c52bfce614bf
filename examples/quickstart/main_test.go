package main

import (
	"testing"

	"l3extract/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m) }

func TestDemo(t *testing.T) { exampletest.Want(t, run) }

func TestArguments(t *testing.T) { exampletest.Refuses(t, run, "unexpected argument", "more") }

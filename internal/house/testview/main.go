package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	noskip := flag.Bool("noskip", false, "a test that skips is a failure")
	skipOK := flag.String("skip-ok", "", "with -noskip: a regular expression over the reasons that are allowed")
	flag.Parse()

	v := &view{out: os.Stdout, noskip: *noskip}
	if *skipOK != "" {
		re, err := regexp.Compile(*skipOK)
		if err != nil {
			fmt.Fprintln(os.Stderr, "testview: -skip-ok:", err)
			os.Exit(2)
		}
		v.skipOK = re
	}
	ok, err := v.read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testview:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Corpus reads a tree of YAML that others wrote for Istio, takes each resource alone through the whole control plane,
// and says what became of it: compiled, refused with the reason, or a panic. With a file of verdicts, as of Istio's own
// validation, it lists every resource on which the two disagree.
//
//	go run ./test/corpus [-verdicts FILE] [-v] DIR
//
// A line of FILE is "path:line<TAB>kind<TAB>namespace/name<TAB>accepted|warned|refused<TAB>text"; the line is that of the
// document's first word. It exits with 1 if anything panicked.
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	verdicts := flag.String("verdicts", "", "compare with the verdicts in this `FILE`")
	verbose := flag.Bool("v", false, "also list each refused resource")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: corpus [-verdicts FILE] [-v] DIR")
		os.Exit(2)
	}
	panics, err := run(flag.Arg(0), *verdicts, *verbose)
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(2)
	}
	if panics > 0 {
		os.Exit(1)
	}
}

func run(root, verdicts string, verbose bool) (panics int, err error) {
	var theirs map[string]verdict
	if verdicts != "" {
		if theirs, err = readVerdicts(verdicts); err != nil {
			return 0, err
		}
	}
	c := newCount()
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && isYAML(path) {
			for _, o := range file(path) {
				c.add(o)
			}
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	c.print(os.Stdout, verbose)
	if theirs != nil {
		c.compare(os.Stdout, theirs)
	}
	return c.panics(), nil
}

func isYAML(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".yaml" || ext == ".yml" || ext == ".json"
}

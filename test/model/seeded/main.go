// SPDX-License-Identifier: Apache-2.0

// Command seeded puts one bug after another into the code, as an overlay that touches no file, and demands that the
// model test finds each. A bug is a file of test/model/bugs: a line of what it is, then for each place "== file",
// "-- old" with the text that is there once, and "-- new" with what comes instead. Run it from the top of the repository.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	limit := flag.Duration("time", time.Minute, "how long the model may search for one bug")
	only := flag.String("only", "", "run the bugs alone whose file has this in its name")
	flag.Parse()
	files, err := filepath.Glob("test/model/bugs/*.txt")
	if err != nil || len(files) == 0 {
		fmt.Fprintln(os.Stderr, "no bugs in test/model/bugs: run from the top of the repository")
		os.Exit(1)
	}
	failed := false
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if !strings.Contains(name, *only) {
			continue
		}
		began := time.Now()
		by, err := hunt(file, *limit)
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stdout, "%-28s %v\n", name, err)
			continue
		}
		fmt.Fprintf(os.Stdout, "%-28s found in %4.1f s: %s\n", name, time.Since(began).Seconds(), by)
	}
	if failed {
		os.Exit(1)
	}
}

// hunt runs the model with a bug and says by what it was found.
func hunt(file string, limit time.Duration) (by string, err error) {
	dir, err := os.MkdirTemp("", "seeded")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := plant(file, dir)
	if err != nil {
		return "", err
	}
	test := filepath.Join(dir, "model.test")
	if out, err := exec.Command("go", "test", "-overlay", overlay, "-c", "-o", test, "./test/model").CombinedOutput(); err != nil {
		return "", fmt.Errorf("does not compile: %w\n%s", err, out)
	}
	out, err := exec.Command(test, "-test.run", "^TestModel$", "-test.timeout", (2 * limit).String(),
		"-for", limit.String(), "-hang", (limit / 4).String()).CombinedOutput()
	switch {
	case err == nil:
		return "", fmt.Errorf("NOT FOUND within %v", limit)
	case !bytes.Contains(out, []byte("FAIL")) && !bytes.Contains(out, []byte("panic")):
		return "", fmt.Errorf("the test could not run: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "seed ") || strings.HasPrefix(line, "panic:") || strings.Contains(line, ": seed ") {
			return line, nil
		}
	}
	return "a failure", nil
}

// plant writes the files with the bug into dir, and the overlay that puts them in place.
func plant(file, dir string) (overlay string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for i, place := range strings.Split("\n"+string(text), "\n== ")[1:] {
		path, change, _ := strings.Cut(place, "\n")
		_, change, ok := strings.Cut("\n"+change+"\n", "\n-- old\n")
		old, new, ok2 := strings.Cut(change, "-- new\n")
		if !ok || !ok2 {
			return "", fmt.Errorf("%s: neither old nor new text for %s", file, path)
		}
		code, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if new = strings.TrimRight(new, "\n"); new != "" {
			new += "\n"
		}
		if n := strings.Count(string(code), old); n != 1 {
			return "", fmt.Errorf("%s: the old text is %d times in %s, it must be there once", file, n, path)
		}
		at := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(at, []byte(strings.Replace(string(code), old, new, 1)), 0o600); err != nil {
			return "", err
		}
		full, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		replace[full] = at
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o600)
}

// SPDX-License-Identifier: Apache-2.0

package life_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A process that is killed under load leaves nothing behind that its successor stumbles over: not its ports, not the
// socket for takeovers, not the torn last line of its log.
func TestKilledProcessIsReplacedAtOnce(t *testing.T) {
	m := newMesh(t)
	log := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(log, []byte("a line that was cut o"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.running.signal(syscall.SIGKILL)
	m.running.exit()
	for generation := range 3 {
		m.running = m.start("--access-log", log).serves()
		if err := once(m.addr, "/"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var load sync.WaitGroup
		for range 8 {
			load.Go(func() {
				for ctx.Err() == nil && once(m.addr, "/") == nil {
				}
			})
		}
		until(t, "lines are logged", func() bool {
			b, err := os.ReadFile(log)
			return err == nil && strings.Count(string(b), "\n") >= 50*(generation+1)
		})
		m.running.signal(syscall.SIGKILL)
		m.running.exit()
		cancel()
		load.Wait()
	}
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if lines[0] != "a line that was cut o" {
		t.Errorf("%q", lines[0])
	}
	for _, line := range lines[1:] {
		if !strings.HasPrefix(line, "[20") || strings.Count(line, `"GET / HTTP/1.1" 200`) != 1 {
			t.Errorf("torn: %q", line)
		}
	}
}

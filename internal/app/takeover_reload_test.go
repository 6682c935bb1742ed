// SPDX-License-Identifier: Apache-2.0

package app

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/takeover"
)

func TestAProcessEndsWhileASuccessorWaitsBehindAReloadThatHangs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "door")
	m := newRig(t, oneHost(0), func(o *Options) { o.Takeover = path })
	m.app.reloads.Lock() // one that reads what does not answer
	defer m.app.reloads.Unlock()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if h, err := takeover.Ask(path); err == nil {
			h.Close()
		}
	}()
	m.until("the successor waits", func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*App).handOver")
	})
	over := make(chan struct{})
	go func() {
		m.app.Close()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(patience):
		t.Error("the process does not end")
	}
	<-asked
}

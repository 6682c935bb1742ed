// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/umbra-mesh/umbra/examples"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// every example that runs by itself: its files, and whether it wants the outbound listener.
var every = []struct {
	files    []string
	outbound bool
	start    string // a line of the start
}{
	{
		[]string{"cross-cluster/a.yaml"}, false,
		`^mirror .* to outbound\|80\|\|httpbin.mirror.cluster-b, share 50 %, Host <host>-shadow$`,
	},
	{[]string{"cross-cluster/b.yaml"}, false, `^listening on `},
	{
		[]string{"canary-mirror/myapp.yaml"}, true,
		`^mirror .* to outbound\|8000\|v1-mirroring\|myapp.default.svc.cluster.local, share 100 %`,
	},
	{
		[]string{"routing/shop.yaml"}, false,
		`^mirror default/shop/everybody: .* to outbound\|80\|v2\|shop.default.svc.cluster.local, share 10 %`,
	},
}

func TestEveryExamplePassesCheckAndRuns(t *testing.T) {
	var told []string
	for _, e := range every {
		told = append(told, e.files...)
		t.Run(path.Dir(e.files[0]), func(t *testing.T) {
			args := []string{"--bind", "127.0.0.1"}
			for _, f := range e.files {
				args = append(args, "-f", filepath.Join("../../examples", f))
			}
			if e.outbound {
				args = append(args, "--outbound", fmt.Sprintf("127.0.0.1:%d", meshtest.FreePort(t)))
			} else {
				args = append(args, "--port", fmt.Sprintf("80=%d", meshtest.FreePort(t)))
			}
			check := exec.Command("umbra", append([]string{"check", "--strict"}, args...)...)
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("check: %v\n%s", err, out)
			}
			p := start(t, args...)
			p.out.wait(t, 0, e.start)
			if body := p.page(t, "/ready"); body != "LIVE\n" {
				t.Errorf("/ready: %s", body)
			}
		})
	}
	err := fs.WalkDir(examples.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !slices.Contains(told, name) {
			t.Errorf("examples/%s is not tried here", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDemoWithoutATerminalEndsByItself(t *testing.T) {
	p := launch(t, "demo")
	p.out.wait(t, 0, `^All as told\.$`)
	if code := p.ended(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

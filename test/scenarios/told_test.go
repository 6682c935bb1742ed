// SPDX-License-Identifier: Apache-2.0

package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/umbra-mesh/umbra/test/meshtest"
)

// containing is how many lines contain what.
func (l *lines) containing(what string) (n int) {
	text, _ := l.all()
	for _, line := range text {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

func TestSecondSignalWritesTheAccessLogOut(t *testing.T) {
	w, _ := slow(t)
	log := filepath.Join(t.TempDir(), "access.log")
	p, _ := folder(t, append(onFreePort(t), "--access-log", log), "all.yaml",
		meshtest.Gateway+service("shop", "v1", w.port)+routes("r", "/slow", "shop", "v1"))
	answer := hold(t, p, w)
	p.get(t, "x", "/nowhere") // answered 404 here; its line waits in the worker's buffer
	p.signal(t, syscall.SIGTERM)
	p.signal(t, syscall.SIGINT)
	if code := p.ended(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	<-answer
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), `"GET /nowhere HTTP/1.1" 404 NR`) {
		t.Errorf("the access log lacks the answered request: %v\n%s", err, text)
	}
}

func TestInputThatCannotBeReadIsSaidAndChangesNothing(t *testing.T) {
	w := newWorkload(t, "v1")
	text := shop(w)
	p, dir := folder(t, onFreePort(t), "all.yaml", text)
	n := p.log.count()
	if err := os.Remove(filepath.Join(dir, "all.yaml")); err != nil {
		t.Fatal(err)
	}
	p.log.wait(t, n, `configuration could not be read; everything stays as it is`)
	if got := p.servedBy(t, "/"); got != "v1" {
		t.Errorf("served by %q", got)
	}
	meshtest.Until(t, "/ready and the gauge say it", func() bool {
		return strings.Contains(p.page(t, "/ready"), "1 configuration problem:\nread input: no .yaml") &&
			strings.Contains(p.page(t, "/stats/prometheus"), rejected("input"))
	})
	n = p.log.count()
	write(t, dir, "all.yaml", text)
	p.log.wait(t, n, `configuration reloaded`)
	if body := p.page(t, "/ready"); body != "LIVE\n" {
		t.Errorf("/ready after all is as before: %s", body)
	}
}

func TestReloadLogsWhatIsNewAndWhichMirrorsChanged(t *testing.T) {
	w := newWorkload(t, "v1")
	mirrored := func(share string) string {
		return routes("r", "/", "shop", "v1") +
			"    mirror: {host: shop.default.svc.cluster.local, subset: v1}\n    mirrorPercentage: {value: " + share + "}\n"
	}
	base := meshtest.Gateway + service("shop", "v1", w.port)
	p, dir := folder(t, onFreePort(t), "base.yaml", base, "routes.yaml", mirrored("10"))
	const note = "are mirrored too"
	p.log.wait(t, 0, note)
	n := p.log.count()
	write(t, dir, "routes.yaml", mirrored("20"))
	p.log.wait(t, n, `no longer in force.*mirror default/r.*share 10 %`)
	p.log.wait(t, n, `msg="in force".*mirror default/r.*share 20 %`)
	p.log.wait(t, n, `configuration reloaded.* refused=0 problems=0`)
	if n := p.log.containing(note); n != 1 {
		t.Errorf("the note was logged %d times, want once", n)
	}
	n = p.log.count()
	write(t, dir, "routes.yaml", strings.Replace(mirrored("20"), "mirrorPercentage", "mirrorPercentag", 1))
	p.log.wait(t, n, `configuration reloaded.* refused=1 problems=1`)
}

func TestKillSwitchIsLoggedOnceWithItsCaller(t *testing.T) {
	w := newWorkload(t, "v1")
	p, _ := folder(t, onFreePort(t), "all.yaml", shop(w))
	n := p.log.count()
	p.ask(t, "POST", "/mirrors?enabled=false")
	p.log.wait(t, n, `mirrors switched.* enabled=false by=127\.0\.0\.1:`)
	if got := p.log.containing("enabled=false"); got != 1 {
		t.Errorf("logged %d times", got)
	}
}

func TestAnEmptiedFileGoesOnBeingServedAndIsSaid(t *testing.T) {
	w := newWorkload(t, "v1")
	text := shop(w)
	p, dir := folder(t, onFreePort(t), "all.yaml", text)
	for what, broken := range map[string]string{
		"an empty file": "",
		"a bad Gateway": strings.Replace(text, "protocol: HTTP", "protocol: HTTPX", 1),
	} {
		n := p.log.count()
		write(t, dir, "all.yaml", broken)
		p.log.wait(t, n, `configuration reloaded.* refused=1`)
		if body, metrics := p.page(t, "/ready"), p.page(t, "/stats/prometheus"); !strings.Contains(body, "1 configuration problem") ||
			!strings.Contains(metrics, "umbra_config_rejected{") {
			t.Errorf("%s: /ready %s", what, body)
		}
		if got := p.servedBy(t, "/headers"); got != "v1" {
			t.Errorf("%s: served by %s", what, got)
		}
		if p.log.containing("no Gateway has port") != 0 {
			t.Errorf("%s: --port is called wrong, though what is served has it", what)
		}
		n = p.log.count()
		write(t, dir, "all.yaml", text)
		p.log.wait(t, n, `configuration reloaded.* refused=0`)
	}
}

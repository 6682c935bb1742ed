// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/umbra-mesh/umbra/internal/admin"
)

func pages(t *testing.T, on *atomic.Bool, mirrors ...admin.Mirror) string {
	t.Helper()
	s := httptest.NewServer(admin.New(admin.Deps{
		SetMirrors: on.Store, Gatherer: prometheus.NewRegistry(),
		Mirrors: func() []admin.Mirror {
			list := append([]admin.Mirror{}, mirrors...)
			for i := range list {
				list[i].Enabled = on.Load()
			}
			return list
		},
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestMirrorsPrintsATableAndSwitches(t *testing.T) {
	var on atomic.Bool
	on.Store(true)
	addr := pages(t, &on,
		admin.Mirror{ID: "default/httpbin", To: "outbound|80||b", Share: 0.5, Selected: 12, Delivered: 7, InFlight: 1,
			Dropped: map[string]int64{"timeout": 3, "reset": 1}},
		admin.Mirror{ID: "x/y", To: "c", Share: 100},
	)
	table := func(state string) string {
		return "MIRROR           STATE  SHARE  TO              SELECTED  DELIVERED  IN FLIGHT  DROPPED\n" +
			"default/httpbin  " + state + "  0.5 %  outbound|80||b  12        7          1          4 (reset 1, timeout 3)\n" +
			"x/y              " + state + "  100 %  c               0         0          0          0\n"
	}
	f := func(state string, args ...string) {
		t.Helper()
		code, out, err := command{t: t, env: map[string]string{"UMBRA_ADMIN": addr}}.run(args...)
		if code != 0 || out != table(state) || err != "" {
			t.Errorf("%v: exit %d, stderr %q, stdout\n%swant\n%s", args, code, err, out, table(state))
		}
	}
	f("on   ", "mirrors")
	f("off  ", "mirrors", "off", "--admin", addr)
	if on.Load() {
		t.Error("off did not switch")
	}
	f("off  ", "mirrors")
	f("on   ", "mirrors", "on", "--admin", "http://"+addr+"/")
	if !on.Load() {
		t.Error("on did not switch")
	}
}

func TestMirrorsSaysThatThereAreNone(t *testing.T) {
	var on atomic.Bool
	addr := pages(t, &on)
	if code, out, _ := (command{t: t}).run("mirrors", "--admin", addr); code != 0 || out != "no mirrors\n" {
		t.Errorf("exit %d, stdout %q", code, out)
	}
}

func TestMirrorsFailsWithWhatTheAdminPagesSay(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	addr := strings.TrimPrefix(s.URL, "http://")
	code, _, err := command{t: t}.run("mirrors", "off", "--admin", addr)
	if code != 1 || !strings.Contains(err, "404 Not Found: 404 page not found") {
		t.Errorf("exit %d, stderr %q", code, err)
	}
	s.Close()
	code, _, err = command{t: t}.run("mirrors", "--admin", addr)
	if code != 1 || !strings.Contains(err, "ask the admin pages") {
		t.Errorf("exit %d, stderr %q", code, err)
	}
}

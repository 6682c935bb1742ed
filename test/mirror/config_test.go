// SPDX-License-Identifier: Apache-2.0

package mirror_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/umbra-mesh/umbra/internal/app"
	"github.com/umbra-mesh/umbra/internal/dataplane/mirror"
	"github.com/umbra-mesh/umbra/test/faulty"
	"github.com/umbra-mesh/umbra/test/meshtest"
)

// heldBack answers requests when it is let, and tells a field of each before.
func heldBack(field string, read chan<- string, answer <-chan struct{}) func(*http.Request) string {
	return func(q *http.Request) string {
		read <- q.Header.Get(field)
		<-answer
		return done
	}
}

// Whatever is taken away while copies are under way, these end by themselves, and production goes on.
func TestConfigurationThatGoesWhileCopiesAreUnderWay(t *testing.T) {
	for _, change := range []struct {
		name   string
		do     func(m *mesh, a, b string)
		code   int  // what production's clients get then
		config bool // whether they have copies, which end as config
	}{
		{"the route", func(m *mesh, a, b string) {
			m.Reload(m.t, meshtest.Gateway+serviceYAML("a", a)+serviceYAML("b", b))
		}, 404, false},
		{"the mirror", func(m *mesh, a, b string) {
			m.Reload(m.t, meshtest.Gateway+serviceYAML("a", a)+serviceYAML("b", b)+routeYAML("a", ""))
		}, 200, false},
		{"the mirror's service", func(m *mesh, a, _ string) {
			m.Reload(m.t, meshtest.Gateway+serviceYAML("a", a)+routeYAML("a", mirrorYAML("b")))
		}, 200, true},
		{"all mirrors, by the kill switch", func(m *mesh, _, _ string) {
			if _, err := m.Ask("POST", "/mirrors?enabled=false"); err != nil {
				m.t.Error(err)
			}
		}, 200, false},
	} {
		t.Run(change.name, func(t *testing.T) {
			production := newProduction(t)
			b, _ := newFaulty(t)
			read, answer := make(chan string, 64), make(chan struct{})
			release := sync.OnceFunc(func() { close(answer) })
			t.Cleanup(release)
			b.Serve(faulty.Answer(heldBack("X-Id", read, answer)))
			m := newMesh(t, mirrored(production.addr(), b.Addr()), mirror.Limits{})
			count := func(name, label string) int64 { return int64(m.metric("umbra_mirror_"+name, label)) }
			const n = 8
			for i := range n {
				m.must([]byte("data"), i%2 == 0)
			}
			for range n {
				receive(t, read)
			}
			// One more is half sent.
			half := m.dial()
			whole, at := rawPost("half", []byte("the other half comes later"), true)
			half.Write(whole[:at+5])
			meshtest.Until(t, "its copy has a connection", func() bool {
				open, _ := b.Connections()
				return open == n+1 && count("live", "") == n+1
			})

			change.do(m, production.addr(), b.Addr())
			for range 4 {
				if code := m.answered("GET", newID(), ""); code != change.code {
					t.Errorf("got %d, want %d", code, change.code)
				}
			}
			wantSelected := int64(n + 1)
			if change.config {
				wantSelected += 4
			}
			meshtest.Until(t, "what comes now has no copy", func() bool {
				return count("selected_total", "") == wantSelected && count("live", "") == n+1
			})
			half.Write(whole[at+5:])
			if resp, err := http.ReadResponse(bufio.NewReader(half), nil); err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			if id := receive(t, read); id != "half" {
				t.Errorf("the mirror read %s", id)
			}
			release()
			meshtest.Until(t, "copies under way are delivered", func() bool {
				return count("delivered_total", "") == n+1 && count("live", "") == 0
			})
			if all, config := count("dropped_total", ""), count("dropped_total", `cause="config"`); all != config ||
				all != wantSelected-n-1 {
				t.Errorf("%d dropped, %d as config", all, config)
			}
			meshtest.Until(t, "nothing is held", func() bool { return m.metric("umbra_mirror_memory_bytes", "") == 0 })
		})
	}
}

// receive is what comes next of what a far end has read, or a client has got.
func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	deadline := time.NewTimer(meshtest.Patience)
	defer deadline.Stop()
	select {
	case v = <-c:
	case <-deadline.C:
		t.Fatal("nothing came")
	}
	return v
}

// The copy goes where the route said when its request's head came.
func TestRouteThatChangesDuringAnUpload(t *testing.T) {
	production := newProduction(t)
	b, seenB := newFaulty(t)
	c, seenC := newFaulty(t)
	services := serviceYAML("a", production.addr()) + serviceYAML("b", b.Addr()) + serviceYAML("c", c.Addr())
	m := newMesh(t, meshtest.Gateway+services+routeYAML("a", mirrorYAML("b")), mirror.Limits{})
	body := make([]byte, 300<<10)
	rand.Read(body)
	for i, chunked := range []bool{false, true} {
		to := []string{"c", "b"}[i]
		id := fmt.Sprint("upload to what was not ", to)
		whole, at := rawPost(id, body, chunked)
		conn := m.dial()
		conn.Write(whole[:at+100<<10])
		meshtest.Until(t, "the upload has begun", func() bool {
			return m.metric("umbra_mirror_live", "") == 1
		})
		m.Reload(t, meshtest.Gateway+services+routeYAML("a", mirrorYAML(to)))
		conn.Write(whole[at+100<<10:])
		if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		meshtest.Until(t, "the copy has ended", func() bool { return m.metric("umbra_mirror_live", "") == 0 })
		was, now := seenB.of(id), seenC.of(id)
		if to == "b" {
			was, now = now, was
		}
		if !was.whole(body) || now.times != 0 {
			t.Errorf("the route's mirror at the head saw it %d times, the other %d times", was.times, now.times)
		}
	}
}

func TestNameOfAMirrorThatCannotBeLookedUp(t *testing.T) {
	production := newProduction(t)
	lost := strings.Replace(serviceYAML("b", "nowhere.invalid:80"), "STATIC", "DNS", 1)
	m := newMesh(t, meshtest.Gateway+serviceYAML("a", production.addr())+lost+routeYAML("a", mirrorYAML("b")), mirror.Limits{})
	const n = 200
	for range n {
		m.must(nil, false)
	}
	if got := m.ended("b"); got.Dropped["no_endpoint"]+got.Dropped["overload"] != n || got.Dropped["no_endpoint"] == 0 {
		t.Errorf("%+v", got)
	}
	if asked := m.metric("envoy_cluster_update_attempt", cluster("b")); asked > 10 {
		t.Errorf("%v look-ups for %d requests", asked, n)
	}
}

func TestShareOfRequestsThatAreCopied(t *testing.T) {
	for share, want := range map[string]float64{
		"": 1, "0": 0, "100": 1, "25": 0.25, "0.0001": 0.000001, // percent, and of 1
		"100.1": math.NaN(), "-1": math.NaN(), ".nan": math.NaN(), ".inf": math.NaN(), // refused
	} {
		t.Run("share "+share, func(t *testing.T) {
			production := newProduction(t)
			b, _ := newFaulty(t)
			part := mirrorYAML("b")
			if share != "" {
				part += "    mirrorPercentage: {value: " + share + "}\n"
			}
			text := meshtest.Gateway + serviceYAML("a", production.addr()) + serviceYAML("b", b.Addr()) + routeYAML("a", part)
			if math.IsNaN(want) {
				a, err := app.New(meshtest.Options(t, text, meshtest.FreePort(t)))
				if err == nil {
					a.Close()
				}
				if err == nil || !strings.Contains(err.Error(), "mirrorPercentage") {
					t.Errorf("started, or said %v", err)
				}
				return
			}
			m := newMesh(t, text, mirror.Limits{})
			if want == 0.000001 {
				dump, err := m.Ask("GET", "/config_dump")
				if err != nil || !strings.Contains(strings.ReplaceAll(dump, " ", ""), `"denominator":"MILLION"`) {
					t.Errorf("a millionth is lost (%v)", err)
				}
			}
			n := 100
			if want == 0.25 {
				n = 1200
			}
			var clients sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					for range n / 4 {
						if err := m.exchange(newID(), nil, false); err != nil {
							t.Error(err)
						}
					}
				})
			}
			clients.Wait()
			got := int64(m.metric("umbra_mirror_selected_total", ""))
			sigma := math.Sqrt(float64(n) * want * (1 - want))
			if math.Abs(float64(got)-float64(n)*want) > 5*sigma+1 {
				t.Errorf("%d of %d, want %v of them", got, n, want)
			}
			if want > 0 {
				m.ended("b")
			}
		})
	}
}

// At the end of the process copies get a while, then they are dropped.
func TestDrainDropsCopiesThatHang(t *testing.T) {
	production := newProduction(t)
	b, _ := newFaulty(t)
	read, answer := make(chan string, 64), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(answer) }))
	b.Serve(faulty.Answer(heldBack("X-Id", read, answer)))
	m := newMesh(t, mirrored(production.addr(), b.Addr()), mirror.Limits{}, func(o *app.Options) { o.DrainTimeout = time.Second })
	const n = 5
	for range n {
		m.must([]byte("data"), false)
	}
	for range n {
		receive(t, read)
	}
	m.base.CloseIdleConnections()
	began := time.Now()
	m.App.Drain()
	if took := time.Since(began); took > meshtest.Patience {
		t.Errorf("it took %s", took)
	}
	if got := m.ended("b"); got.Dropped["shutdown"] != n || got.Selected != n {
		t.Errorf("%+v", got)
	}
}

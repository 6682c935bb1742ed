// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// watched is a monitor of one resource whose use the test sets.
type watched struct {
	*Monitor
	use  float64
	acts []Level
	now  time.Time
}

func watch(release func()) *watched {
	w := &watched{now: time.Unix(1000, 0)}
	w.Monitor = New([]*Resource{{
		Name: "thing", Read: func() float64 { return w.use }, At: [3]float64{0.8, 0.9, 0.95}, Release: release,
	}}, func(l Level) { w.acts = append(w.acts, l) }, quiet)
	return w
}

func (w *watched) look(use float64, times int) Level {
	w.use = use
	for range times {
		w.now = w.now.Add(lookEvery)
		w.Look(w.now)
	}
	return w.Level()
}

func TestLevelRisesAtOnceAndFallsStepByStep(t *testing.T) {
	w := watch(nil)
	for i, step := range []struct {
		use   float64
		times int
		want  Level
	}{
		{0.79, 10, None},
		{0.8, 1, ShedCopies},
		{0.76, 20, ShedCopies}, // within the margin
		{0.74, calm - 1, ShedCopies},
		{0.76, 1, ShedCopies}, // the calm begins anew
		{0.74, calm - 1, ShedCopies},
		{0.74, 1, None},
		{0.99, 1, RefuseRequests},
		{0.86, calm, PauseAccepting},
		{0.86, 2 * calm, PauseAccepting},
		{0, calm, ShedCopies},
		{0, calm, None},
		{0, 50, None},
	} {
		if got := w.look(step.use, step.times); got != step.want {
			t.Fatalf("step %d: level %v, want %v", i, got, step.want)
		}
	}
	want := []Level{ShedCopies, None, RefuseRequests, PauseAccepting, ShedCopies, None}
	if !slices.Equal(w.acts, want) {
		t.Errorf("acted on %v, want %v", w.acts, want)
	}
	if a, b, c := w.Reached(ShedCopies), w.Reached(PauseAccepting), w.Reached(RefuseRequests); a != 2 || b != 1 || c != 1 {
		t.Errorf("reached %d, %d, %d times, want 2, 1, 1", a, b, c)
	}
	if got := w.Resources()[0].Use(); got != 0 {
		t.Errorf("use %v", got)
	}
}

func TestResourceIsReleasedUnderPressureButNotAllTheTime(t *testing.T) {
	n := 0
	w := watch(func() { n++ })
	if w.look(0.5, 100); n != 0 {
		t.Fatalf("released %d times without need", n)
	}
	if w.look(0.85, 1); n != 1 {
		t.Fatalf("released %d times at once, want 1", n)
	}
	if w.look(0.85, int(2*releaseEvery/lookEvery)); n != 3 {
		t.Errorf("released %d times in twice %s more, want 3", n, releaseEvery)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	looked := make(chan struct{}, 1)
	m := New([]*Resource{{Name: "thing", Read: func() float64 {
		select {
		case looked <- struct{}{}:
		default:
		}
		return 0
	}}}, func(Level) {}, quiet)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	select {
	case <-looked:
	case <-time.After(20 * time.Second):
		t.Error("never looked")
	}
	cancel()
	wg.Wait()
}

// files makes a root with the files, by path and content.
func files(t *testing.T, list ...string) string {
	t.Helper()
	root := t.TempDir()
	for i := 0; i < len(list); i += 2 {
		path := filepath.Join(root, list[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(list[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMemoryIsTheFullestGroups(t *testing.T) {
	const machine = "MemTotal:  1000 kB\n"
	f := func(want float64, limit int64, list ...string) {
		t.Helper()
		root := files(t, append(list, "proc/meminfo", machine)...)
		if got := Memory(root)(); got != want {
			t.Errorf("%v: use %v, want %v", list, got, want)
		}
		if got := GroupLimit(root); got != limit {
			t.Errorf("%v: limit %v, want %v", list, got, limit)
		}
	}
	f(0, 0)
	f(0, 0, "proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "max\n", "sys/fs/cgroup/a/memory.current", "500\n")
	f(0.5, 100_000, "proc/self/cgroup", "0::/a/b\n",
		"sys/fs/cgroup/a/memory.max", "100000\n", "sys/fs/cgroup/a/memory.current", "90000\n",
		"sys/fs/cgroup/a/memory.stat", "anon 50000\nfile 40000\ninactive_file 30000\nactive_file 10000\n",
		"sys/fs/cgroup/a/b/memory.max", "200000\n", "sys/fs/cgroup/a/b/memory.current", "80000\n")
	f(0.25, 400_000, "proc/self/cgroup", "4:cpu,memory:/c\n0::/\n",
		"sys/fs/cgroup/memory/c/memory.limit_in_bytes", "400000\n",
		"sys/fs/cgroup/memory/c/memory.usage_in_bytes", "150000\n",
		"sys/fs/cgroup/memory/c/memory.stat", "inactive_file 7\ntotal_inactive_file 50000\ntotal_active_file 0\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n",
		"sys/fs/cgroup/memory/memory.usage_in_bytes", "900000\n")
	f(0, 100_000, "proc/self/cgroup", "0::/a\n", "sys/fs/cgroup/a/memory.max", "100000\n",
		"sys/fs/cgroup/a/memory.current", "10\n", "sys/fs/cgroup/a/memory.stat", "inactive_file 9000\n")
}

func TestDescriptorsAreCounted(t *testing.T) {
	before, ok := openDescriptors()
	if !ok {
		t.Fatal("cannot be counted")
	}
	for range 10 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if now, ok := openDescriptors(); !ok || now != before+10 {
		t.Errorf("%d open, after 10 more than %d", now, before)
	}
	listed, ok := listDescriptors()
	if now, _ := openDescriptors(); !ok || listed != now {
		t.Errorf("%d listed, %d counted", listed, now)
	}
	if limit, use := DescriptorLimit(), Descriptors(); limit > 0 && (use <= 0 || use > 1) {
		t.Errorf("%v of %d in use", use, limit)
	}
}

// post keeps what is posted until it is run.
type post struct{ fns []func() }

func (p *post) Post(fn func()) bool { p.fns = append(p.fns, fn); return true }

func (p *post) run() {
	for _, fn := range p.fns {
		fn()
	}
	p.fns = nil
}

type ended struct{}

func (ended) Post(func()) bool { return false }

func TestLagIsHowLongAWorkerTakes(t *testing.T) {
	var a, b post
	lag := Lag([]Poster{&a, &b, ended{}})
	begin := time.Now()
	if got := lag(); got != 0 {
		t.Errorf("%v before anything was posted", got)
	}
	if lag(); len(a.fns) != 1 || len(b.fns) != 1 {
		t.Errorf("%d and %d posts wait for one worker", len(a.fns), len(b.fns))
	}
	a.run()
	second := lag()
	if limit := time.Since(begin).Seconds(); second <= 0 || second > limit {
		t.Errorf("%v, want what b takes: up to %v", second, limit)
	}
	for range 3 { // they run at once now
		a.run()
		b.run()
		lag()
	}
	a.run()
	b.run()
	if got := lag(); got > time.Since(begin).Seconds() || got <= 0 {
		t.Errorf("%v", got)
	}
}

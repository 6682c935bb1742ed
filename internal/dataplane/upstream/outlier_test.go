// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
)

// detection is Istio's usual outlierDetection, with room for all to be ejected.
func detection(change func(*Outlier)) *Outlier {
	o := &Outlier{
		Consecutive5xx: 5, ConsecutiveGateway: 5, ConsecutiveLocal: 5,
		Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second,
		MaxEjectionPercent: 100, Enforce5xx: 100, EnforceGateway: 0, EnforceLocal: 100,
	}
	if change != nil {
		change(o)
	}
	return o
}

// court is a cluster of hosts under outlier detection, in virtual time.
type court struct {
	*testing.T
	d *Directory
	c *Cluster
	w *loop.Worker
}

func trial(t *testing.T, hosts int, o *Outlier, do func(k court)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d, w := directory(t)
		d.Set(Config{Name: "c", Policy: Random, Static: ends(make([]uint32, hosts)...), Outlier: o})
		do(court{t, d, d.Slot("c").Cluster(), w})
		d.Close() // before the bubble ends
	})
}

// say reports the same result n times.
func (k court) say(host, n int, r Result) {
	for range n {
		k.c.Report(k.w, k.c.Hosts()[host], r)
	}
	synctest.Wait()
}

func (k court) want(when string, host int, ejected bool) {
	k.Helper()
	if got := k.c.Hosts()[host].Ejected(loop.Production); got != ejected {
		k.Errorf("%s: host %d is ejected: %v", when, host, got)
	}
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // virtual time
	synctest.Wait()
}

// until is how long it takes for a host to return, to the second.
func (k court) until(host int) time.Duration {
	start := time.Now()
	for k.c.Hosts()[host].Ejected(loop.Production) {
		if time.Since(start) > time.Hour {
			k.Fatal("it never returns")
		}
		pass(time.Second)
	}
	return time.Since(start)
}

func TestEnoughFailuresInARowEject(t *testing.T) {
	bad, good := Result{Status: 500}, Result{Status: 200}
	for name, c := range map[string]struct {
		results []Result
		change  func(*Outlier)
		ejected bool
	}{
		"five 500s":                  {[]Result{bad, bad, bad, bad, bad}, nil, true},
		"four":                       {[]Result{bad, bad, bad, bad}, nil, false},
		"not in a row":               {[]Result{bad, bad, bad, bad, good, bad}, nil, false},
		"a 404 is an answer":         {[]Result{bad, bad, bad, bad, {Status: 404}, bad}, nil, false},
		"no result at all":           {[]Result{bad, bad, bad, bad, {}, bad}, nil, true},
		"no connection":              {[]Result{{Local: true}, {Local: true}, bad, bad, bad}, nil, true},
		"off":                        {[]Result{bad, bad, bad, bad, bad, bad}, enough(0), false},
		"500s are no gateway errors": {[]Result{bad, bad, bad, bad, bad}, gateway(1), false},
		"504 is one":                 {[]Result{{Status: 504}}, gateway(1), true},
		"a 500 between them":         {[]Result{{Status: 503}, bad, {Status: 502}}, gateway(2), false},
		"not enforced":               {[]Result{bad, bad, bad, bad, bad}, func(o *Outlier) { o.Enforce5xx = 0 }, false},
		"split: answers only":        {[]Result{{Local: true}, bad, bad, bad, bad}, split(5), false},
		"split: failures only":       {[]Result{{Local: true}, {Local: true}}, split(2), true},
		"split: a connection counts": {[]Result{{Local: true}, {Local: true, Connected: true}}, split(2), false},
		"split: an answer counts":    {[]Result{{Local: true}, bad, {Local: true}}, split(2), false},
	} {
		t.Run(name, func(t *testing.T) {
			trial(t, 2, detection(c.change), func(k court) {
				for _, r := range c.results {
					k.say(0, 1, r)
				}
				k.want("after all", 0, c.ejected)
				k.want("after all", 1, false)
				got := picks(k.c, k.w, 1000)
				if (got[name2(k.c, 0)] == 0) != c.ejected {
					k.Errorf("picks %v", got)
				}
			})
		})
	}
}

func name2(c *Cluster, i int) string { return c.Hosts()[i].Name }

func enough(n uint32) func(*Outlier) { return func(o *Outlier) { o.Consecutive5xx = n } }

func gateway(n uint32) func(*Outlier) {
	return func(o *Outlier) { o.Consecutive5xx, o.ConsecutiveGateway, o.EnforceGateway = 0, n, 100 }
}

func split(n uint32) func(*Outlier) {
	return func(o *Outlier) { o.SplitLocal, o.ConsecutiveLocal = true, n }
}

func TestEjectionAndReturnAreLogged(t *testing.T) {
	trial(t, 2, detection(nil), func(k court) {
		var log strings.Builder
		k.d.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		k.say(0, 5, Result{Status: 500})
		k.until(0)
		synctest.Wait()
		for _, want := range []string{
			`msg="host ejected" cluster=c host=` + k.c.Hosts()[0].Name + " for=5xx copies=false times=1\n",
			`msg="ejected host returns" cluster=c host=` + k.c.Hosts()[0].Name + " copies=false\n",
		} {
			if strings.Count(log.String(), want) != 1 {
				t.Errorf("no %q in %q", want, log.String())
			}
		}
	})
}

// 30 s, and 30 s more with every further ejection; to the sweep that follows; never more than max_ejection_time.
func TestEjectionsLastLongerAndLonger(t *testing.T) {
	o := detection(func(o *Outlier) { o.MaxEjection = 100 * time.Second })
	trial(t, 2, o, func(k court) {
		for i, seconds := range []int{30, 60, 90, 100, 100, 100} {
			k.say(0, 5, Result{Status: 500})
			k.want("after five", 0, true)
			got := k.until(0)
			if want := time.Duration(seconds) * time.Second; got != want {
				t.Errorf("ejection %d lasted %v, want %v", i+1, got, want)
			}
		}
	})
}

func TestASweepForgivesAHostThatBehaves(t *testing.T) {
	trial(t, 2, detection(nil), func(k court) {
		for range 3 {
			k.say(0, 5, Result{Status: 500})
			k.until(0)
		}
		pass(15 * time.Second) // one sweep, 3 becomes 2
		k.say(0, 5, Result{Status: 500})
		if got := k.until(0); got < 90*time.Second || got > 100*time.Second {
			t.Errorf("after one sweep in peace: %v, want 90 s and up to the sweep after", got)
		}
		pass(10 * time.Minute)
		k.say(0, 5, Result{Status: 500})
		if got := k.until(0); got > 40*time.Second {
			t.Errorf("after ten minutes in peace: %v", got)
		}
	})
}

func TestAHostReturnsAtASweepOnly(t *testing.T) {
	trial(t, 2, detection(func(o *Outlier) { o.Interval = 20 * time.Second }), func(k court) {
		pass(15 * time.Second) // sweeps come at 20, 40, 60
		k.say(0, 5, Result{Status: 500})
		if got := k.until(0); got != 45*time.Second {
			t.Errorf("it returns after %v, want at the sweep after 45 s", got)
		}
	})
}

func TestTooManyAreNotEjected(t *testing.T) {
	for _, c := range []struct {
		hosts   int
		percent uint32
		one     bool
		ejected int
	}{
		{10, 10, false, 1},
		{9, 10, false, 0}, // 11 % would be ejected
		{9, 10, true, 1},
		{4, 50, false, 2},
		{3, 100, false, 3},
		{3, 0, false, 0},
		{3, 0, true, 1},
		{3, 1000, false, 3},
	} {
		o := detection(func(o *Outlier) { o.MaxEjectionPercent, o.AlwaysEjectOne = c.percent, c.one })
		trial(t, c.hosts, o, func(k court) {
			for i := range c.hosts {
				k.say(i, 5, Result{Status: 500})
			}
			got := 0
			for _, h := range k.c.Hosts() {
				if h.Ejected(loop.Production) {
					got++
				}
			}
			if got != c.ejected {
				t.Errorf("%+v: %d are ejected", c, got)
			}
			metrics(t, k.c, k.w, map[int]int64{
				EjectionsActive: int64(c.ejected), EjectionsEnforcedTotal: int64(c.ejected),
				EjectionsEnforced5xx: int64(c.ejected), EjectionsOverflow: int64(c.hosts - c.ejected),
				EjectionsDetected5xx: int64(c.hosts), EjectionsDetectedGateway: 0,
				MembershipHealthy: int64(c.hosts - c.ejected),
			})
		})
	}
}

// Copies of a request fail where production's does not: that is the mirror's affair.
func TestCopiesEjectForCopiesOnly(t *testing.T) {
	trial(t, 2, detection(nil), func(k court) {
		k.say(0, 5, Result{Status: 503, Class: loop.Copy})
		k.want("after copies failed", 0, false)
		if !k.c.Hosts()[0].Ejected(loop.Copy) {
			t.Error("copies still go there")
		}
		for range 200 {
			if h := k.c.Pick(k.w, &Choice{Class: loop.Copy}); h != k.c.Hosts()[1] {
				t.Fatal("a copy goes to an ejected host")
			}
		}
		if got := picks(k.c, k.w, 200); len(got) != 2 {
			t.Errorf("production goes to %v", got)
		}
		pass(30 * time.Second)
		if k.c.Hosts()[0].Ejected(loop.Copy) {
			t.Error("it did not return")
		}
	})
}

func TestEjectionsSurviveAChangeOfSettings(t *testing.T) {
	trial(t, 3, detection(nil), func(k court) {
		k.say(0, 5, Result{Status: 500})
		cfg := *k.c.Config()
		cfg.Policy = RoundRobin
		k.d.Set(cfg)
		k.want("after a change", 0, true)
		if got := picks(k.c, k.w, 100); got[name2(k.c, 0)] > 0 {
			t.Errorf("picks %v", got)
		}
		cfg.Static = cfg.Static[1:]
		k.d.Set(cfg)
		cfg.Static = ends(1, 1, 1)
		k.d.Set(cfg)
		k.want("gone and back", 0, false)
		k.say(1, 5, Result{Status: 500})
		cfg.Outlier = nil
		k.d.Set(cfg)
		k.want("without detection", 1, false)
		metrics(t, k.c, k.w, map[int]int64{EjectionsActive: 0, EjectionsEnforcedTotal: 2, MembershipHealthy: 3})
	})
}

func TestWithAllEjectedPanicUsesThem(t *testing.T) {
	trial(t, 2, detection(nil), func(k court) {
		k.say(0, 5, Result{Status: 500})
		k.say(1, 5, Result{Status: 500})
		if h := k.c.Pick(k.w, &Choice{}); h != nil {
			t.Errorf("without panic: %s", h.Name)
		}
		cfg := *k.c.Config()
		cfg.PanicPercent = 50
		k.d.Set(cfg)
		if got := picks(k.c, k.w, 1000); len(got) != 2 {
			t.Errorf("in panic: %v", got)
		}
	})
}

func TestReportsOfManyWorkersEjectOnce(t *testing.T) {
	trial(t, 4, detection(nil), func(k court) {
		for range 8 {
			go func() {
				for i := range 4000 {
					k.c.Report(k.w, k.c.Hosts()[i%4], Result{Status: 500})
				}
			}()
		}
		synctest.Wait()
		for i := range 4 {
			k.want("after a storm", i, true)
		}
		metrics(t, k.c, k.w, map[int]int64{EjectionsActive: 4, EjectionsEnforcedTotal: 4, EjectionsDetected5xx: 4})
	})
}

func TestNewHostsWarmUp(t *testing.T) {
	for _, policy := range []Policy{RoundRobin, LeastRequest} {
		synctest.Test(t, func(t *testing.T) {
			d, w := directory(t)
			cfg := Config{
				Name: "c", Policy: policy, Static: ends(1), SlowStart: SlowStart{Window: time.Minute, MinPercent: -1},
			}
			d.Set(cfg)
			pass(time.Hour)
			cfg.Static = ends(1, 1)
			d.Set(cfg)
			c := d.Slot("c").Cluster()
			for _, step := range []struct {
				pass   time.Duration
				weight float64
			}{{0, 0.1}, {30 * time.Second, 0.5}, {15 * time.Second, 0.75}, {20 * time.Second, 1}} {
				pass(step.pass)
				n := picks(c, w, 40000)[name2(c, 1)]
				want := 40000 * step.weight / (1 + step.weight)
				if float64(n) < want*0.93-200 || float64(n) > want*1.07+200 { // weights go in steps
					t.Errorf("policy %d, weight %v: %d of 40000, want %.0f", policy, step.weight, n, want)
				}
			}
			d.Close()
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/umbra-mesh/umbra/internal/dataplane/loop"
	"github.com/umbra-mesh/umbra/internal/dataplane/upstream"
)

// This file is a cluster that ejects hosts, and what must hold of it. Production goes there, and with m.shared so do
// copies: what one of them meets there must not matter to the other.

// court is that cluster.
type court struct {
	m     *model
	c     *upstream.Cluster
	hosts []*judged
	// panicked is when the cluster last had too few healthy hosts for production to keep to them.
	panicked time.Duration
	none     time.Duration // when it last had none at all
	changed  time.Duration // its settings did: a change may end ejections
}

// judged is what is known of one of its hosts.
type judged struct {
	court *court
	host  *upstream.Host
	name  string
	// By loop.Class.
	moods   [2]mood
	bad     [2]int // what it answered badly
	ejected [2]bool
	from    [2]time.Duration // of the ejection under way
	times   [2]int           // it was ejected
}

// mood is how much of what a host answers is bad, in percent, and until when.
type mood struct {
	percent int
	until   time.Duration
}

// onTheWay is the most time from the choice of a host of this cluster to the head's arrival there, a new connection
// included.
const onTheWay = 50 * time.Millisecond

// outlier is settings under which little is enough, so that there is much to see in a short time.
func (m *model) outlier() *upstream.Outlier {
	return &upstream.Outlier{
		Consecutive5xx: uint32(1 + m.r.IntN(4)), Interval: time.Duration(10+m.r.IntN(150)) * time.Millisecond,
		BaseEjection: time.Duration(50+m.r.IntN(300)) * time.Millisecond, MaxEjection: time.Second,
		MaxEjectionPercent: 100, Enforce5xx: 100,
	}
}

// court makes the cluster.
func (m *model) newCourt() {
	cfg := unlimited("judged")
	cfg.Outlier = m.outlier()
	if m.r.IntN(3) > 0 {
		cfg.PanicPercent = 50
	}
	if m.r.IntN(2) == 0 {
		cfg.SlowStart.Window = time.Duration(100+m.r.IntN(2000)) * time.Millisecond
	}
	k := &court{m: m, panicked: -time.Hour, none: -time.Hour}
	var origins []*origin
	for range 1 + m.r.IntN(4) {
		e, o := m.place("judged", false, moody)
		cfg.Static = append(cfg.Static, e)
		o.judged = &judged{court: k, name: o.name}
		for class := range o.judged.moods {
			o.judged.moods[class] = mood{[]int{0, 50, 100, 100}[m.r.IntN(4)], span/2 + m.within(2*span)}
		}
		origins = append(origins, o)
	}
	if !m.bubbled {
		cfg.Outlier, cfg.SlowStart = nil, upstream.SlowStart{} // they go by a clock that stands still
	}
	m.clusters.Set(cfg)
	k.c = m.clusters.Slot("judged").Cluster()
	for i, h := range k.c.Hosts() {
		origins[i].judged.host = h
		k.hosts = append(k.hosts, origins[i].judged)
	}
	m.court = k
}

// deed is what a host does with a request.
func (j *judged) deed(a *attempt, r *rand.Rand) deed {
	j.court.checkChosen(j, a)
	class := loop.Production
	if a.copy {
		class = loop.Copy
	}
	mood := j.moods[class]
	if j.court.m.sim.Now() > mood.until || r.IntN(100) >= mood.percent {
		return answer
	}
	j.bad[class]++
	if r.IntN(4) == 0 {
		return resetAtHead
	}
	a.status = []int{500, 502, 503, 504}[r.IntN(4)]
	return answerBadly
}

// outlierGoes turns the ejecting off for a while: all hosts return.
func (k *court) outlierGoes() {
	if !k.m.bubbled {
		return
	}
	k.m.note("no host is ejected")
	cfg := *k.c.Config()
	cfg.Outlier = nil
	k.set(cfg)
	for _, j := range k.hosts {
		if j.host.Ejected(loop.Production) || j.host.Ejected(loop.Copy) {
			k.m.fail("%s is still ejected, by nobody", j.name)
		}
	}
	k.m.sim.After(k.m.within(span/2), func() {
		k.m.note("hosts are ejected again")
		cfg.Outlier = k.m.outlier()
		k.set(cfg)
	})
}

func (k *court) set(cfg upstream.Config) {
	k.changed = k.m.sim.Now()
	k.m.clusters.Set(cfg)
	k.look(k.changed)
}

// look finds whose ejections have begun or ended until now, and whether they may have.
func (k *court) look(now time.Duration) {
	if k == nil || k.m.failed {
		return
	}
	o := k.c.Config().Outlier
	healthy := 0
	for _, j := range k.hosts {
		for class := range j.ejected {
			is := j.host.Ejected(loop.Class(class))
			switch {
			case is && o == nil:
				k.m.fail("%s is ejected, and nobody ejects", j.name)
			case is && !j.ejected[class]:
				j.from[class] = now
				j.times[class]++
				k.m.note("%s is ejected for %s", j.name, classes[class])
				// The least that any settings want is one.
				if j.bad[class] < j.times[class]*k.least() {
					k.m.fail("%s is ejected for %s, time %d, after %d failures", j.name, classes[class], j.times[class], j.bad[class])
				}
			case is:
				if long := now - j.from[class]; long > o.MaxEjection+o.Interval && k.changed < j.from[class] {
					k.m.fail("%s is ejected for %s for %v", j.name, classes[class], long)
				}
			case j.ejected[class]:
				k.m.note("%s returns for %s", j.name, classes[class])
				if long := now - j.from[class]; k.changed < j.from[class] && long < o.BaseEjection {
					k.m.fail("%s returns for %s after %v already", j.name, classes[class], long)
				}
			}
			j.ejected[class] = is
		}
		if !j.ejected[loop.Production] {
			healthy++
		}
	}
	if float64(healthy) < k.c.Config().PanicPercent/100*float64(len(k.hosts)) {
		k.panicked = now
	} else if healthy == 0 {
		k.none = now
	}
}

var classes = [2]string{loop.Production: "production", loop.Copy: "copies"}

// least is how many failures in a row any of the settings so far wanted.
func (k *court) least() int {
	if k.changed > 0 {
		return 1
	}
	return int(k.c.Config().Outlier.Consecutive5xx)
}

// checkChosen: an ejected host gets no new request of production, unless too few are left.
func (k *court) checkChosen(j *judged, a *attempt) {
	since := k.m.sim.Now() - onTheWay
	if !a.copy && j.ejected[loop.Production] && j.from[loop.Production] < since && k.panicked < since {
		k.m.fail("%s got a request, and is ejected since %v", j.name, j.from[loop.Production])
	}
}

// checkUnanswered: while it has a host for production, a request reaches one.
func (k *court) checkUnanswered(p *plan) {
	unanswered := p.path == "/judged" && p.up == "" && p.status == 503 && len(p.attempts) == 0
	if unanswered && k.none < p.headAt && !k.m.excused(p) {
		k.m.fail("%s reached no host, and there were some that are not ejected", p.id)
	}
}

// checkReturned holds long after the last request.
func (k *court) checkReturned() {
	for _, j := range k.hosts {
		if j.ejected != [2]bool{} {
			k.m.fail("%s is ejected in the end: %v", j.name, j.ejected)
		}
	}
}

// tally adds up what happened.
func (k *court) tally(seen map[string]int64) {
	for _, j := range k.hosts {
		for class, n := range j.times {
			seen[fmt.Sprintf("ejected for %s", classes[class])] += int64(n)
		}
	}
	if k.panicked > 0 {
		seen["panic"]++
	}
}

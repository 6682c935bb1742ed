// SPDX-License-Identifier: Apache-2.0

package mirror

import "time"

// retireAfter is how long the series of a mirror that left force stay: for the last scrape, and for requests that were
// under way and still count there.
const retireAfter = time.Minute

// Retire says that no policy in force counts there any more. The series end a while later, when its copies are done; if
// Stats asks for them before, they stay.
func (e *Engine) Retire(s *Stats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.retired++
	e.dropLater(s, s.retired)
}

// dropLater ends the series unless they were asked for since that retirement.
func (e *Engine) dropLater(s *Stats, retirement uint64) {
	time.AfterFunc(retireAfter, func() {
		live := s.Counts().Live
		e.mu.Lock()
		defer e.mu.Unlock()
		switch k := (statsKey{s.ID, s.Cluster}); {
		case s.retired != retirement || e.stats[k] != s:
		case live > 0:
			e.dropLater(s, retirement)
		default:
			delete(e.stats, k)
			s.set.Release()
		}
	})
}

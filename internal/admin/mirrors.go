// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Mirror is one mirror policy and its counts, all of one instant: Selected is the sum of Delivered, Dropped and
// InFlight.
type Mirror struct {
	ID         string  `json:"id"`
	From       string  `json:"from"`        // the route whose requests are copied
	To         string  `json:"to"`          // the cluster that gets the copies
	Share      float64 `json:"share"`       // of the route's requests, in percent
	HostSuffix string  `json:"host_suffix"` // what is added to Host on a copy; "": nothing
	Enabled    bool    `json:"enabled"`

	Selected  int64            `json:"selected"`
	Delivered int64            `json:"delivered"`
	Dropped   map[string]int64 `json:"dropped"` // by cause
	InFlight  int64            `json:"in_flight"`
}

// mirrors answers with a JSON list, empty if there is no mirror.
func (s *server) mirrors(w http.ResponseWriter, _ *http.Request) {
	list := []Mirror{}
	if s.Mirrors != nil {
		list = append(list, s.Mirrors()...)
	}
	for i := range list {
		if list[i].Dropped == nil {
			list[i].Dropped = map[string]int64{}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(list); err != nil {
		s.Logger.Debug("answer /mirrors", "error", err) // the client went away
	}
}

// setMirrors turns all mirrors on or off and answers with the list as it is then.
func (s *server) setMirrors(w http.ResponseWriter, r *http.Request) {
	on, err := strconv.ParseBool(r.URL.Query().Get("enabled"))
	if err != nil {
		http.Error(w, "enabled must be true or false: POST /mirrors?enabled=false", http.StatusBadRequest)
		return
	}
	if s.SetMirrors == nil {
		http.Error(w, "this process has no mirrors to set", http.StatusNotFound)
		return
	}
	s.SetMirrors(on)
	s.Logger.Info("mirrors switched", "enabled", on, "by", r.RemoteAddr)
	s.mirrors(w, r)
}

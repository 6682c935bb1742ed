// SPDX-License-Identifier: Apache-2.0

package admin

import (
	_ "embed"
	"html/template"
	"net/http"
)

//go:embed index.html
var indexHTML string

var indexPage = template.Must(template.New("index").Parse(indexHTML))

// page is a line of the index.
type page struct{ Path, Says string }

func (s *server) index(w http.ResponseWriter, _ *http.Request) {
	pages := []page{
		{"/config_dump", "The configuration in force, as the data plane accepted it, in Envoy's shape; " +
			"?resource=dynamic_route_configs for one kind, ?name_regex= for some names, ?include_eds for endpoints."},
		{"/mirrors", "Every mirror with its share and its counts; POST /mirrors?enabled=false turns them all off."},
	}
	if s.Log != nil {
		pages = append(pages, page{"/logging", "The log's level; POST /logging?level=debug tells of every request, connection and copy that fails."})
	}
	if s.Clusters != nil {
		pages = append(pages, page{"/clusters", "Every cluster with its hosts and their state."})
	}
	pages = append(pages,
		page{"/stats", "Every counter as text; ?filter= takes a regular expression, ?usedonly leaves out zeros."},
		page{"/stats/prometheus", "The same for Prometheus to scrape."},
		page{"/ready", "200 while traffic may come; the body lists what is wrong with the configuration."},
		page{"/debug/pprof/", "Profiles of this process, for its developers."},
	)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := indexPage.Execute(w, pages); err != nil {
		s.Logger.Debug("answer /", "error", err) // the client went away
	}
}

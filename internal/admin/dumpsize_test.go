// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/umbra-mesh/umbra/internal/admin"
)

// manyRoutes is one route configuration of so many virtual hosts with ten routes each.
func manyRoutes(hosts int) admin.Accepted {
	rc := &routev3.RouteConfiguration{Name: "http.80"}
	for i := range hosts {
		v := &routev3.VirtualHost{Name: fmt.Sprint("host", i), Domains: []string{fmt.Sprint("host", i, ".example")}}
		for k := range 10 {
			v.Routes = append(v.Routes, &routev3.Route{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: fmt.Sprint("/", k)}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: fmt.Sprint("outbound|80||service", i, ".example")},
					Timeout:          durationpb.New(0),
					RetryPolicy: &routev3.RetryPolicy{
						RetryOn: "connect-failure,refused-stream", NumRetries: wrapperspb.UInt32(2),
					},
				}},
			})
		}
		rc.VirtualHosts = append(rc.VirtualHosts, v)
	}
	return admin.Accepted{Routes: admin.Resources{Version: "1", List: []admin.Resource{{Message: rc, Version: "1"}}}}
}

func BenchmarkConfigDumpOf10000Hosts(b *testing.B) {
	a := manyRoutes(10_000)
	h := admin.New(admin.Deps{Dump: func() admin.Accepted { return a }})
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/config_dump", nil))
		if w.Code != 200 {
			b.Fatal(w.Code)
		}
		b.SetBytes(int64(w.Body.Len()))
	}
}

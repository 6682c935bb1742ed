// SPDX-License-Identifier: Apache-2.0

package translate

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/umbra-mesh/umbra/internal/controlplane/mesh"
)

// fault reads what a rule does to requests on purpose; nil if that is nothing.
func (p *report) fault(path string, f *networking.HTTPFaultInjection) *mesh.Fault {
	if f == nil {
		return nil
	}
	path += ".fault"
	if f.GetAbort() == nil && f.GetDelay() == nil {
		p.error(path, "add abort or delay", "HTTP fault injection must have an abort and/or a delay")
	}
	out := &mesh.Fault{
		Delay: p.delay(path+".delay", f.GetDelay()), Abort: p.abort(path+".abort", f.GetAbort()),
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

func (p *report) delay(path string, d *networking.HTTPFaultInjection_Delay) *mesh.Delay {
	if d == nil {
		return nil
	}
	out := &mesh.Delay{}
	switch {
	case d.GetPercentage() != nil:
		out.Million = p.percentage(path+".percentage.value", d.GetPercentage())
		if d.GetPercent() != 0 {
			p.warn(path+".percent", "remove it", "has no effect beside percentage")
		}
	case d.GetPercent() < 0 || d.GetPercent() > 100:
		p.error(path+".percent", "write 0 to 100", "percentage %v is not in range 0..100", d.GetPercent())
	case d.GetPercent() != 0:
		out.Million = uint32(d.GetPercent()) * 10_000
		p.note(path+".percent", "use percentage", "is deprecated")
	default:
		p.warn(path, "add percentage", "no request is delayed: there is no percentage")
	}
	switch kind := d.GetHttpDelayType().(type) {
	case *networking.HTTPFaultInjection_Delay_FixedDelay:
		out.Fixed = p.duration(path+".fixedDelay", kind.FixedDelay)
	case *networking.HTTPFaultInjection_Delay_ExponentialDelay:
		p.error(path+".exponentialDelay", "use fixedDelay", "exponentialDelay not supported yet")
	default:
		p.warn(path, "add fixedDelay", "no request is delayed: there is no fixedDelay")
		return nil
	}
	return out
}

func (p *report) abort(path string, a *networking.HTTPFaultInjection_Abort) *mesh.Abort {
	if a == nil {
		return nil
	}
	out := &mesh.Abort{}
	if a.GetPercentage() == nil {
		p.warn(path, "add percentage", "no request is aborted: there is no percentage")
	} else {
		out.Million = p.percentage(path+".percentage.value", a.GetPercentage())
	}
	switch kind := a.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		p.httpStatus(path+".httpStatus", int64(kind.HttpStatus))
		out.Status = uint32(max(kind.HttpStatus, 0))
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		code, ok := grpcCodes[kind.GrpcStatus]
		if !ok {
			p.error(path+".grpcStatus", "write a name such as NOT_FOUND",
				"gRPC status %q is not supported. See https://github.com/grpc/grpc/blob/master/doc/statuscodes.md "+
					"for a list of supported codes, for example 'NOT_FOUND'", kind.GrpcStatus)
		}
		out.GRPC = &code
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		p.error(path+".http2Error", "use httpStatus or grpcStatus", "HTTP/2 abort fault injection not supported yet")
	default:
		p.warn(path, "add httpStatus or grpcStatus", "abort configured, but error type not set")
		return nil
	}
	return out
}

// percentage is a share of a fault in millionths, cut off and not rounded.
func (p *report) percentage(path string, percent *networking.Percent) uint32 {
	n := percent.GetValue()
	if n != n || n < 0 || n > 100 || n > 0 && n < 0.0001 {
		p.error(path, "write 0, or 0.0001 to 100", "percentage %v is neither 0.0, nor in range [0.0001, 100.0]", n)
		return 0
	}
	return uint32(n * 10_000)
}

// grpcCodes are the codes of gRPC by their names.
var grpcCodes = map[string]uint32{
	"OK": 0, "CANCELLED": 1, "UNKNOWN": 2, "INVALID_ARGUMENT": 3, "DEADLINE_EXCEEDED": 4, "NOT_FOUND": 5,
	"ALREADY_EXISTS": 6, "PERMISSION_DENIED": 7, "RESOURCE_EXHAUSTED": 8, "FAILED_PRECONDITION": 9, "ABORTED": 10,
	"OUT_OF_RANGE": 11, "UNIMPLEMENTED": 12, "INTERNAL": 13, "UNAVAILABLE": 14, "DATA_LOSS": 15, "UNAUTHENTICATED": 16,
}

package extproc

import (
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// readCall finds out whether the request is gRPC, and the call if its messages are read.
func (r *requestState) readCall(q *Request) {
	var proto bool
	if r.grpc, proto = scan.IsGRPC(q.Header("content-type")); proto {
		r.call = scan.CallFromPath(q.Path)
		r.api = r.call.API()
	}
}

// readStatus takes a response's grpc-status from its headers or trailers. One that is
// not OK makes the response a failure, whose HTTP status says nothing: it is always 200.
func (st *stream) readStatus(h *Headers) {
	if !st.request.grpc {
		return
	}
	if code, err := strconv.ParseUint(h.Get("grpc-status"), 10, 32); err == nil && code != uint64(codes.OK) {
		st.response.status = httpStatus(codes.Code(code))
	}
}

// noGRPCStatus says that an answer is not to a gRPC client.
const noGRPCStatus = -1

// grpcCode is the gRPC status of a refusal with that HTTP status.
func grpcCode(status int) int {
	c := codes.Unknown
	switch status {
	case http.StatusBadRequest:
		c = codes.InvalidArgument
	case http.StatusUnauthorized:
		c = codes.Unauthenticated
	case http.StatusForbidden:
		c = codes.PermissionDenied
	case http.StatusNotFound:
		c = codes.NotFound
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		c = codes.DeadlineExceeded
	case http.StatusConflict:
		c = codes.Aborted
	case http.StatusPreconditionFailed:
		c = codes.FailedPrecondition
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		c = codes.ResourceExhausted
	case http.StatusUnsupportedMediaType, http.StatusNotImplemented:
		c = codes.Unimplemented
	case http.StatusInternalServerError:
		c = codes.Internal
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		c = codes.Unavailable
	}
	return int(c)
}

// httpStatus is the HTTP status that stands for a gRPC status other than OK.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.Canceled:
		return 499 // the client went away
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange:
		return http.StatusBadRequest
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout
	case codes.NotFound:
		return http.StatusNotFound
	case codes.AlreadyExists, codes.Aborted:
		return http.StatusConflict
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.Unimplemented:
		return http.StatusNotImplemented
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// ModelInMessage refuses a gRPC request whose model goes by another name where it is
// sent: the name in its message cannot be replaced.
func ModelInMessage() *Rejection {
	return &Rejection{
		Status:  http.StatusNotImplemented,
		Code:    "model_not_replaceable",
		Message: "the model goes by another name where it is served, which cannot be put into a gRPC message; ask for that name",
	}
}

package extproc

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/extproc/internal/echo"
)

type staticPicker struct{}

func (staticPicker) Pick(context.Context, *Request) (Pick, error) {
	return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000"}, nil
}

// benchBody is a chat request of about n bytes.
func benchBody(n int) string {
	const words = "The quick brown fox jumps over the lazy dog, said \\\"nobody\\\" ever.\\n"
	var b strings.Builder
	b.WriteString(`{"model":"llama","stream":true,"messages":[`)
	for i := 0; b.Len() < n-100; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		text := strings.Repeat(words, min((n-b.Len())/len(words)+1, 50))
		fmt.Fprintf(&b, `{"role":"user","content":"%s"}`, text)
	}
	b.WriteString(`]}`)
	return b.String()
}

// exchange is one request as Envoy sends it: the messages, and how many answers
// there are after each. Messages are kept encoded, so that a client costs little.
type exchange struct {
	frames  []mem.BufferSlice
	answers []int
}

func (x *exchange) add(answers int, m *req) {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	x.frames = append(x.frames, mem.BufferSlice{mem.SliceBuffer(b)})
	x.answers = append(x.answers, answers)
}

// newExchange makes a request of size bytes. chunks says how many body answers a
// full duplex server sends, given how many body messages there are.
func newExchange(size int, mode modev3.ProcessingMode_BodySendMode, early bool, chunks func(messages, size int) int) *exchange {
	body := benchBody(size)
	x := &exchange{}
	headers := post(chat, mode, modev3.ProcessingMode_STREAMED,
		":scheme", "http", "user-agent", "OpenAI/Python 1.99.1", "accept", "application/json", "x-forwarded-for", "10.1.2.3",
		"x-forwarded-proto", "http", "x-request-id", "6dcd7bbd-7c20-4e12-9bd1-7d6c1f6a2d14", "x-stainless-lang", "python",
		"authorization", "Bearer sk-0123456789abcdef0123456789abcdef", "accept-encoding", "gzip, deflate")
	if mode == buffered {
		x.add(1, headers)
		x.add(1, reqBody(body, true))
	} else {
		first := 0
		if early {
			first = 1
		}
		x.add(first, headers)
		messages := 0
		for rest := body; rest != ""; messages++ {
			n := min(len(rest), 64<<10)
			x.add(0, reqBody(rest[:n], n == len(rest)))
			rest = rest[n:]
		}
		x.answers[len(x.answers)-1] = 1 - first + chunks(messages, len(body))
	}
	x.add(1, respHeaders(":status", "200", "content-type", "application/json", "server", "uvicorn"))
	x.add(1, respBody(`{"id":"1","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}`, true))
	return x
}

// benchServer is a server in a process of its own, so that its CPU time can be
// told from the client's.
type benchServer struct {
	conn   *grpc.ClientConn
	ask    io.Writer
	answer *bufio.Scanner
}

const (
	serverEnv = "EXTPROC_BENCH_SERVER"
	socketEnv = "EXTPROC_BENCH_SOCKET"
)

// TestMain makes the test binary a server when a benchmark starts it as one.
func TestMain(m *testing.M) {
	if kind := os.Getenv(serverEnv); kind != "" {
		serveBench(kind, os.Getenv(socketEnv))
		return
	}
	os.Exit(m.Run())
}

// serveBench serves, and answers each line on standard input with the CPU time
// used so far, until the input ends.
func serveBench(kind, socket string) {
	var g *grpc.Server
	switch kind {
	case "fairway":
		srv := New(staticPicker{}, Options{Log: slog.New(slog.DiscardHandler)})
		g = grpc.NewServer(srv.ServerOptions()...)
		srv.Register(g)
	case "raw", "raw-duplex":
		g = grpc.NewServer(echo.Options()...)
		(&echo.Raw{Duplex: kind == "raw-duplex"}).Register(g)
	default:
		g = grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
		(&echo.Generated{}).Register(g)
	}
	lis, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	go func() { _ = g.Serve(lis) }()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(cpu())
	}
}

func startBench(b *testing.B, kind string) *benchServer {
	b.Helper()
	// Not b.TempDir: socket paths must be short.
	dir, err := os.MkdirTemp("", "extproc")
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverEnv+"="+kind, socketEnv+"="+socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(echo.Codec{}), grpc.WaitForReady(true),
			grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		_ = in.Close()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	s := &benchServer{conn: conn, ask: in, answer: bufio.NewScanner(out)}
	s.cpu(b) // it listens now
	return s
}

// cpu is the CPU time the server has used, in nanoseconds.
func (s *benchServer) cpu(b *testing.B) int64 {
	b.Helper()
	if _, err := io.WriteString(s.ask, "\n"); err != nil || !s.answer.Scan() {
		b.Fatal("the server is gone")
	}
	ns, err := strconv.ParseInt(s.answer.Text(), 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return ns
}

func (x *exchange) run(conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+ServiceName+"/Process")
	if err != nil {
		return err
	}
	var in echo.Frame
	defer in.Free()
	for i, f := range x.frames {
		if err := s.SendMsg(&echo.Frame{Bufs: f}); err != nil {
			return err
		}
		for range x.answers[i] {
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
		}
	}
	return s.CloseSend()
}

func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkProcess measures requests, some at a time, against this server and
// against servers that only answer, over a unix socket. server-cpu-ns/op is the server's CPU time,
// kernel included; client-cpu-ns/op that of the client, which never decodes and is
// the same for all.
func BenchmarkProcess(b *testing.B) {
	for _, size := range []int{1 << 10, 220 << 10} {
		for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
			name := fmt.Sprintf("%dKB/%v", size>>10, mode)
			perMessage := func(messages, _ int) int { return messages }
			perChunk := func(_, size int) int { return (size + maxChunk - 1) / maxChunk }
			raw := "raw"
			if mode == duplex {
				raw = "raw-duplex"
			}
			b.Run(name+"/fairway", func(b *testing.B) { benchmark(b, "fairway", newExchange(size, mode, false, perChunk)) })
			b.Run(name+"/raw", func(b *testing.B) { benchmark(b, raw, newExchange(size, mode, true, perMessage)) })
			b.Run(name+"/generated", func(b *testing.B) { benchmark(b, "generated", newExchange(size, mode, true, perMessage)) })
		}
	}
}

func benchmark(b *testing.B, kind string, x *exchange) {
	s := startBench(b, kind)
	for range 50 { // connect and fill the pools
		if err := x.run(s.conn); err != nil {
			b.Fatal(err)
		}
	}
	server, client := s.cpu(b), cpu()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := x.run(s.conn); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(cpu()-client)/float64(b.N), "client-cpu-ns/op")
	b.ReportMetric(float64(s.cpu(b)-server)/float64(b.N), "server-cpu-ns/op")
}

// BenchmarkStream measures the server without gRPC: decoding, scanning, encoding.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1 << 10, 220 << 10} {
		for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
			b.Run(fmt.Sprintf("%dKB/%v", size>>10, mode), func(b *testing.B) {
				srv := New(staticPicker{}, Options{Log: slog.New(slog.DiscardHandler)})
				s := canned(b, mode, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					s.next = 0
					if err := srv.process(s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

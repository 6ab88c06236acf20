package fire

import (
	"bytes"
	"compress/gzip"
	"strings"
	"time"
)

// good answers as the provider's API says.
func good(x *exchange) {
	contentType, parts := x.answer()
	if !x.stream() {
		x.whole(200, contentType, parts[0])
		return
	}
	x.chunked(200, contentType)
	for _, p := range parts {
		x.chunk(p)
	}
	x.end()
}

// onFire is what a provider says in an error that it calls a success.
const onFire = "the model is on fire"

// acts are what a provider can do, by the value of actHeader.
func acts() map[string]func(*exchange) {
	all := map[string]func(*exchange){
		"good":                 good,
		"reset before headers": func(x *exchange) { x.reset() },
		"close before headers": func(x *exchange) { x.Close() },
		"reset after headers":  func(x *exchange) { t, _ := x.answer(); x.chunked(200, t); pause(); x.reset() },
		"end after headers":    func(x *exchange) { t, _ := x.answer(); x.chunked(200, t); x.end() },
		"close short of its length": func(x *exchange) {
			t, parts := x.answer()
			x.head(200, t, "content-length: 100000")
			x.send(parts[0])
			x.Close()
		},
		"a byte at a time": func(x *exchange) {
			t, parts := x.answer()
			x.chunked(200, t)
			for i := range len(strings.Join(parts, "")) {
				x.chunk(strings.Join(parts, "")[i : i+1])
				time.Sleep(time.Millisecond)
			}
			x.end()
		},
		"silence":          (*exchange).hang,
		"silence midway":   midway(3, (*exchange).hang),
		"garbage":          func(x *exchange) { x.send(strings.Repeat("\x00\xff\x13garbage", 100)); x.Close() },
		"invalid chunking": func(x *exchange) { t, _ := x.answer(); x.chunked(200, t); x.send("zz\r\nwhat\r\n"); pause(); x.Close() },
		"two lengths": func(x *exchange) {
			t, parts := x.answer()
			x.send("HTTP/1.1 200 OK\r\ncontent-type: " + t + "\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n" + parts[0])
			x.Close()
		},
		"length and chunks": func(x *exchange) {
			t, parts := x.answer()
			x.chunked(200, t, "content-length: 3")
			x.chunk(parts[0])
			x.end()
		},
		"continue and hints": func(x *exchange) {
			x.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
			good(x)
		},
		"switching protocols": func(x *exchange) {
			x.send("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
			x.hang()
		},
		"204":                func(x *exchange) { x.head(204, "") },
		"304":                func(x *exchange) { x.head(304, "") },
		"status 999":         func(x *exchange) { x.whole(999, "application/json", "{}") },
		"flood of headers":   func(x *exchange) { x.whole(200, "application/json", "{}", flood(2000)...) },
		"one huge header":    func(x *exchange) { x.whole(200, "application/json", "{}", "x-huge: "+strings.Repeat("h", 1<<20)) },
		"500 with a page":    func(x *exchange) { x.whole(500, "text/html", "<html><h1>Oops") },
		"503 without a body": func(x *exchange) { x.whole(503, "", "") },
		"error in success": func(x *exchange) {
			x.whole(200, "application/json", `{"error":{"message":"`+onFire+`","type":"server_error"}}`)
		},
		"refuse unread": func(x *exchange) {
			body := `{"error":{"message":"too much","type":"invalid_request_error"}}`
			switch x.p.schema {
			case "Anthropic":
				body = `{"type":"error","error":{"type":"request_too_large","message":"too much"}}`
			case "AWSBedrock":
				body = `{"message":"too much"}`
			}
			x.whole(413, "application/json", body, "connection: close")
			_ = x.CloseWrite()
			x.hang()
			for _, err := x.Read(make([]byte, 64<<10)); err == nil; _, err = x.Read(make([]byte, 64<<10)) {
			}
		},
		"trailers": func(x *exchange) {
			t, parts := x.answer()
			x.chunked(200, t, "trailer: x-checksum")
			for _, p := range parts {
				x.chunk(p)
			}
			x.send("0\r\nx-checksum: abc\r\n\r\n")
		},
		"html":         func(x *exchange) { x.whole(200, "text/html; charset=utf-8", "<html>Please log in</html>") },
		"text":         func(x *exchange) { _, parts := x.answer(); x.whole(200, "text/plain", strings.Join(parts, "")) },
		"other stream": func(x *exchange) { x.whole(200, "application/x-ndjson", "{}\n{}\n") },
		"not JSON": func(x *exchange) {
			t, _ := x.answer()
			x.whole(200, t, "this is not "+strings.Repeat("what you want ", 50))
		},
		"empty":    func(x *exchange) { t, _ := x.answer(); x.whole(200, t, "") },
		"half":     half,
		"brotli":   func(x *exchange) { t, _ := x.answer(); x.whole(200, t, "\x0b\x02\x80garbage", "content-encoding: br") },
		"not gzip": func(x *exchange) { t, p := x.answer(); x.whole(200, t, p[0], "content-encoding: gzip") },
		"gzip cut off": func(x *exchange) {
			t, p := x.answer()
			z := zipped(strings.Join(p, ""))
			x.whole(200, t, z[:len(z)-20], "content-encoding: gzip")
		},
		"gzip": func(x *exchange) {
			t, p := x.answer()
			x.whole(200, t, zipped(strings.Join(p, "")), "content-encoding: gzip")
		},
		"gzip bomb": bomb,
	}
	all["endless object"] = endless("application/json", longBegin)
	all["endless line"] = endless(contentSSE, "data: ")
	all["endless page"] = endless("text/html", "<html>")
	// A frame of the greatest length that a header can tell.
	all["endless frame"] = endless("application/vnd.amazon.eventstream", "\xff\xff\xff\xff\x00\x00\x00\x00")
	all["long object"] = func(x *exchange) { x.sent = 1<<10 - 128; endless("application/json", longBegin)(x) }
	for name, how := range map[string]func(*exchange){
		"reset": func(x *exchange) { pause(); x.reset() },
		"close": func(x *exchange) { x.Close() },
		"end":   func(x *exchange) { x.end() },
	} {
		all[name+" midway"] = midway(3, how)
		all[name+" in an event"] = midway(-3, how)
	}
	for _, status := range []string{"301", "302", "307", "308"} {
		all["redirect "+status] = func(x *exchange) {
			x.send("HTTP/1.1 " + status + " Elsewhere\r\nlocation: http://" + x.r.Header.Get("x-elsewhere") + "/stolen\r\ncontent-length: 0\r\n\r\n")
		}
	}
	return all
}

// pause lets what was written arrive before a reset takes it back.
func pause() { time.Sleep(20 * time.Millisecond) }

// midway answers up to n events, for a negative n with a part of the next, and goes on as
// told. Of one body, it is a half.
func midway(n int, then func(*exchange)) func(*exchange) {
	return func(x *exchange) {
		contentType, parts := x.answer()
		x.chunked(200, contentType)
		switch {
		case !x.stream():
			x.chunk(parts[0][:len(parts[0])/2])
		case n < 0:
			x.chunk(strings.Join(parts[:-n], "") + parts[-n][:len(parts[-n])/2])
		default:
			x.chunk(strings.Join(parts[:n], ""))
		}
		then(x)
	}
}

// half is a body of known length that is cut in the middle of what it says.
func half(x *exchange) {
	t, parts := x.answer()
	all := strings.Join(parts, "")
	x.whole(200, t, all[:len(all)*2/3])
}

func flood(n int) (all []string) {
	for range n {
		all = append(all, "x-flood: "+strings.Repeat("f", 100))
	}
	return all
}

func zipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text)) // a buffer takes it
	_ = z.Close()
	return b.String()
}

// bomb is blanks, a thousand times as many as are sent: more than an answer may have
// that has to be read whole.
func bomb(x *exchange) {
	mib := zipped(strings.Repeat(" ", 1<<20))
	t, _ := x.answer()
	x.chunked(200, t, "content-encoding: gzip")
	for range 80 {
		if !x.chunk(mib) {
			return
		}
	}
	x.end()
}

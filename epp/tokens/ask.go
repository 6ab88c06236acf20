package tokens

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxAttempts is how many endpoints are asked for one prompt, and maxMissing how
// many that turn out not to have the route or the model.
const (
	maxAttempts = 2
	maxMissing  = 4
)

// Outcomes of a question that make another endpoint worth asking.
var (
	errFailing     = errors.New("the endpoint fails")
	errUnreachable = errors.New("the endpoint cannot be reached")
	errMissing     = errors.New("the endpoint has no such route or model")
)

// ask asks endpoints until one answers.
func (e *Engine) ask(p *prompt) (answer, error) {
	begun := e.o.Clock.Now()
	ctx, cancel := context.WithCancel(e.life)
	defer cancel()
	want := []route{p.render, tokenize}
	images, timeout := p.hasImages(), e.o.Timeout
	if images {
		timeout = e.o.ImagesTimeout
	}
	defer e.o.Clock.AfterFunc(timeout, cancel)()
	if !p.tokenizable || images {
		want = want[:1]
	}
	var tried []string
	err := ErrNoEndpoint
	for failed, missed := 0, 0; failed < maxAttempts && missed < maxMissing; {
		at, has, ok := e.places.next(e.o.Endpoints(), tried, want, e.o.Clock.Now())
		if !ok {
			break
		}
		var a answer
		a, err = e.askAt(ctx, at, has, p)
		switch {
		case err == nil:
			e.places.answers(at)
			e.stats.asked(e.o.Clock.Now().Sub(begun))
			if images && len(a.images) == 0 && a.err == nil {
				a = answer{err: ErrImages}
			}
			return a, nil
		case errors.Is(err, ErrDenied): // the client's fault, and no other's
			e.stats.errors.Add(1)
			return answer{}, err
		case e.life.Err() != nil:
			return answer{}, ErrClosed
		case errors.Is(err, errMissing):
			missed++
		default:
			failed++
			e.places.fails(at, errors.Is(err, errUnreachable), e.o.Clock.Now().Add(e.o.FailingWait))
		}
		tried = append(tried, at)
		if ctx.Err() != nil {
			break
		}
	}
	e.stats.errors.Add(1)
	switch {
	case errors.Is(err, errMissing), errors.Is(err, errUnreachable):
		err = ErrNoEndpoint
	case errors.Is(err, errFailing):
		err = ErrAnswer
	}
	return answer{}, err
}

// askAt asks one endpoint at the routes in turn, until one exists.
func (e *Engine) askAt(ctx context.Context, at string, has []route, p *prompt) (answer, error) {
	for _, r := range has {
		status, body, err := e.post(ctx, at+r.path(), p.question(r), p.authorization)
		switch {
		case err != nil:
			return answer{}, err
		case status == http.StatusOK && r == tokenize:
			return parseTokenize(body)
		case status == http.StatusOK:
			return parseRender(body)
		case status == http.StatusNotFound && modelMissing(body):
			return answer{}, errMissing
		case status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
			e.places.lacks(at, r, e.o.Clock.Now().Add(e.o.MissingWait))
		case status == http.StatusUnauthorized, status == http.StatusForbidden:
			return answer{}, ErrDenied
		case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
			return answer{err: ErrRefused}, nil
		default:
			return answer{}, fmt.Errorf("%w: status %d", errFailing, status)
		}
	}
	return answer{}, errMissing
}

// post returns the status and the bounded body of an answer. Its errors do not
// quote the answer.
func (e *Engine) post(ctx context.Context, url string, body []byte, authorization string) (int, []byte, error) {
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, errUnreachable
	}
	if e.o.Header != nil {
		req.Header = e.o.Header.Clone()
	}
	if authorization != "" && req.Header.Get("Authorization") == "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	switch {
	case err != nil && ctx.Err() != nil: // it was reached, and is slow
		return 0, nil, errFailing
	case err != nil:
		return 0, nil, errUnreachable
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return 0, nil, errFailing // its body is the connection, whose reading no context ends
	}
	limit := int64(e.o.MaxAnswer)
	b, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return 0, nil, errFailing
	case int64(len(b)) > limit:
		return 0, nil, fmt.Errorf("%w: more than %d bytes", ErrAnswer, limit)
	}
	return res.StatusCode, b, nil
}

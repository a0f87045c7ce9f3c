// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc/status"

	pb "example.com/matting/gen/matting/v1"
)

// cutout cuts the subject out of one photo.
func cutout(ctx context.Context, client pb.MattingServiceClient, photo, result string) error {
	request, err := requestFor(photo)
	if err != nil {
		return err
	}
	answer, err := client.RemoveBackground(ctx, request)
	if err != nil {
		return failureOf(status.Convert(err))
	}
	if err := write(result, answer); err != nil {
		return err
	}
	fmt.Printf("%s: the subject covers %.0f%% of the photo\n", result, 100*answer.GetSubject().GetAreaShare())
	return nil
}

func requestFor(photo string) (*pb.RemoveBackgroundRequest, error) {
	content, err := os.ReadFile(photo)
	if err != nil {
		return nil, err
	}
	return &pb.RemoveBackgroundRequest{
		Source:  &pb.RemoveBackgroundRequest_Encoded{Encoded: &pb.EncodedImage{Content: content}},
		Outputs: []*pb.OutputSpec{{Kind: pb.OutputKind_OUTPUT_KIND_CUTOUT}},
	}, nil
}

func write(result string, answer *pb.RemoveBackgroundResponse) error {
	outputs := answer.GetOutputs()
	if len(outputs) != 1 || outputs[0].GetEncoded() == nil {
		return errors.New("the gateway answered no file")
	}
	return os.WriteFile(result, outputs[0].GetEncoded().GetContent(), 0o644)
}

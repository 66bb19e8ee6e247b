import com.jayway.jsonpath.JsonPath;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** Reads the responses of a reranker, one per line, as ml-commons does: the same casts, array and unboxing. */
public class Similarities {
  public static void main(String[] arguments) throws Exception {
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      try {
        System.out.println(Arrays.toString(scores(line, arguments[0])));
      } catch (RuntimeException error) {
        System.out.println(error.getClass().getSimpleName());
      }
    }
  }

  static double[] scores(String response, String path) {
    List<?> results = JsonPath.parse(response).read(path);
    Double[] scores = new Double[results.size()];
    for (Object item : results) {
      Map<?, ?> result = (Map<?, ?>) item;
      scores[(Integer) result.get("index")] = (Double) result.get("relevance_score");
    }
    return Arrays.stream(scores).mapToDouble(score -> score).toArray();
  }
}
